"""POST /v1/datasets/{dataset}/reindexes: rebuilds a search index, as a job."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec

from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import follow, kinds
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import Job, JobBody
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.search.index import IndexBody, select_body
from services.gateway.search.search_request import check_searchable
from shared.bus.routes import on
from shared.contracts.commands import BuildIndex
from shared.contracts.events import IndexRebuilt
from shared.contracts.parts import Problem
from shared.db import Connection

NOT_SEARCHABLE = Problem(code="not_searchable", detail="The dataset no longer declares a search, so it has no index.")


class ReindexJobBody(JobBody, frozen=True, kw_only=True):
    """A job that rebuilds a search index. `generation` is null until it has succeeded."""

    generation: int | None


def to_body(job: Job, body: JobBody) -> ReindexJobBody:
    """Adds the new generation of the index."""
    return ReindexJobBody(**msgspec.structs.asdict(body), generation=(job.result or {}).get("generation"))


async def follow_rebuilt(event: IndexRebuilt, db: Connection) -> JobEvents:
    """Ends the job: searches use the new generation."""
    if event.generation is None:
        return await follow.fail(db, event.job_id, NOT_SEARCHABLE)
    return await follow.succeed(db, event.job_id, event.version, {"generation": event.generation})


REINDEX = kinds.register(
    JobKind(
        name="reindex",
        command=BuildIndex,
        owner="indexer",
        routes=(on(IndexRebuilt, follow_rebuilt, then=JobEvents),),
        phase="index",
        exclusive="index",
        body=ReindexJobBody,
        to_body=to_body,
        result="A job that rebuilds a search index has its new `generation`.",
    )
)


@post(
    "/v1/datasets/{dataset:str}/reindexes",
    tags=["search"],
    summary="Rebuild the search index of a dataset",
    description="Starts a job; its id is in `Millrace-Job`. Searches use the old index until the new one is complete. A"
    " rebuild is only needed after somebody has changed the tables by hand. While one is running, other requests join"
    " it, with `Millrace-Attached: true`. `Prefer: wait=N` waits until the new index is in use; GET …/index shows"
    " progress.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 422),
        200: ResponseSpec(data_container=IndexBody, description="The new index is in use"),
    },
)
async def reindex(
    request: Request[Any, Any, Any],
    submitter: JobSubmitter,
    dataset: str,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[IndexBody]:
    """Starts a job, or joins the running one. Responds with the state of the index."""
    check_searchable(await submitter.catalog.dataset(submitter.pool, dataset))
    job_id = uuid7()
    job_request = kinds.build_request(
        REINDEX,
        BuildIndex(dataset=dataset, request_id=job_id, job_id=job_id),
        dataset,
        api_key=request.user.id,
        idempotency_key=idempotency_key,
        deadline=deadline,
    )
    response = await respond(submitter, await submitter.submit(job_request), prefer)
    job = response.content
    headers = {**response.headers, "Location": f"/v1/datasets/{dataset}/index", "Millrace-Job": str(job.id)}
    async with submitter.pool.acquire() as db:
        body = await select_body(db, dataset)
    return Answer(body, status_code=200 if job.status == "succeeded" else 202, headers=headers)
