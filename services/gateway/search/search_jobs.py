"""POST /v1/searches: a search as a job, whose result is stored for a day."""

import datetime as dt
import hashlib
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec

from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import follow, kinds
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.search import results, search_request
from services.gateway.search.results import SearchJobBody
from services.gateway.search.routes import MAX_BODY_BYTES
from services.gateway.search.search_request import SearchBody
from shared.bus.routes import on
from shared.contracts.commands import RunSearch
from shared.contracts.events import SearchCompleted
from shared.db import Connection

MAX_HITS = 1000


class SearchJobQuery(SearchBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query of a dataset; `limit` is the number of hits to store."""

    dataset: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_HITS)] = MAX_HITS


async def follow_searched(event: SearchCompleted, db: Connection) -> JobEvents:
    """Ends the job: its result is stored."""
    return await follow.succeed(db, event.job_id, event.version)


SEARCH = kinds.register(
    JobKind(
        name="search",
        command=RunSearch,
        owner="indexer",
        routes=(on(SearchCompleted, follow_searched, then=JobEvents),),
        phase="search",
        deadline=dt.timedelta(hours=1),
        body=SearchJobBody,
        read_result=results.add_result,
        result="The `result` of a search has one page of its hits. It is null until the job has succeeded, and again"
        " when it is `expired`.",
    )
)


@post(
    "/v1/searches",
    tags=["search"],
    summary="Search as a job",
    description="Stores the hits for 24 hours. `GET /v1/jobs/{id}` returns them page by page under `result`, to"
    " anybody with the id of the job. With `min_version`, the search starts when the index includes that version."
    " `Prefer: wait=N` waits for the job to end. With an `Idempotency-Key`, the request can be repeated safely."
    f"\n\n{search_request.DESCRIPTION}",
    opt={"scope": "read"},
    status_code=202,
    request_max_body_size=MAX_BODY_BYTES,
    responses={
        **responses(400, 404, 413, 422),
        200: ResponseSpec(data_container=SearchJobBody, description="The finished job"),
    },
)
async def start_search(
    request: Request[Any, Any, Any],
    data: SearchJobQuery,
    submitter: JobSubmitter,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[SearchJobBody]:
    """Starts a job. The scope `read` is enough: a search changes no row and returns only what the key may read."""
    declaration = await submitter.catalog.dataset(submitter.pool, data.dataset)
    query = search_request.to_search_query(declaration, data)
    min_version = data.min_version or 0
    if min_version:
        await _check_version(submitter, data.dataset, min_version)
    command = RunSearch(dataset=data.dataset, job_id=uuid7(), query=msgspec.to_builtins(query), min_version=min_version)
    submission = await submitter.submit(
        JobRequest(
            kind=SEARCH.name,
            command=command,
            api_key=request.user.id,
            idempotency_key=idempotency_key,
            deadline=deadline,
            fingerprint=hashlib.sha256(b"search/" + msgspec.json.encode(data, order="deterministic")).hexdigest(),
        )
    )
    response = await respond(submitter, submission, prefer)
    async with submitter.pool.acquire() as db:
        body = await results.add_result(db, response.content)
    return Answer(body, status_code=response.status_code, headers=response.headers)


async def _check_version(submitter: JobSubmitter, dataset: str, version: int) -> None:
    """Raises Problem 422 for a version that the dataset has not reached yet."""
    entry = await submitter.catalog.latest(submitter.pool, dataset)
    if entry is None or entry.version < version:
        detail = f"min_version: {dataset} is at version {entry.version if entry else 0}, not yet at {version}."
        raise Problem(
            422,
            "unknown_version",
            detail,
            hint="Use the `version` of the job that loaded the rows.",
            errors=[Detail(code="unknown_version", column="min_version", detail=detail)],
        )
