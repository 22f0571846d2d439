"""POST /v1/searches: a search as a job, whose answer is kept for a day."""

import hashlib
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import follow, kinds
from services.gateway.jobs.follow import JobEvents
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.search import results, search_request
from services.gateway.search.recovery import INDEXER
from services.gateway.search.results import SearchJobBody
from services.gateway.search.routes import LARGEST_BYTES
from services.gateway.search.search_request import SearchBody
from shared.bus.routes import on
from shared.contracts.commands import RunSearch
from shared.contracts.events import SearchCompleted
from shared.db import Connection

MOST_HITS = 1000


class KeptSearchBody(SearchBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question to a dataset; `limit` is how many hits are kept."""

    dataset: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_HITS)] = MOST_HITS


async def follow_searched(event: SearchCompleted, db: Connection) -> JobEvents:
    """The result is stored."""
    return await follow.succeed(db, event.job_id, event.version)


SEARCH = kinds.register(
    JobKind(
        name="search",
        command=RunSearch,
        owner="indexer",
        routes=(on(SearchCompleted, follow_searched, then=JobEvents),),
        phase="search",
        body=SearchJobBody,
        read_result=results.with_result,
        result="A search has one page of its hits under `result`: null until it has succeeded, and again once it is"
        " `expired`.",
        recovery=INDEXER,
    )
)


@post(
    "/v1/searches",
    tags=["search"],
    summary="Search as a job",
    description="For answers to be read page by page, by whoever has the job's id, for 24 hours: `GET /v1/jobs/{id}`"
    " has them under `result`. With `min_version` the search begins when everything up to that version of the dataset"
    " can be found. `Prefer: wait=N` waits for the job to end; with an `Idempotency-Key` the same request can be sent"
    f" again safely.\n\n{search_request.DESCRIPTION}",
    opt={"scope": "read"},
    status_code=202,
    request_max_body_size=LARGEST_BYTES,
    responses={
        **responses(400, 404, 413, 422),
        200: ResponseSpec(data_container=SearchJobBody, description="The job, ended"),
    },
)
async def start_search(
    request: Request[Any, Any, Any],
    data: KeptSearchBody,
    submitter: JobSubmitter,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[SearchJobBody]:
    """Who may read may search: the job tells nothing that the key could not read, and changes no row."""
    declared = await submitter.catalog.dataset(submitter.pool, data.dataset)
    question = search_request.to_question(declared, data)
    min_version = data.min_version or 0
    if min_version:
        await _refuse_future(submitter, data.dataset, min_version)
    command = RunSearch(
        dataset=data.dataset, job_id=uuid7(), query=msgspec.to_builtins(question), min_version=min_version
    )
    accepted = await submitter.accept(
        JobRequest(
            kind=SEARCH.name,
            command=command,
            api_key=request.user.id,
            idempotency_key=idempotency_key,
            fingerprint=hashlib.sha256(b"search/" + msgspec.json.encode(data, order="deterministic")).hexdigest(),
        )
    )
    answer = await respond(submitter.pool, submitter.stopping, accepted, prefer)
    async with submitter.pool.acquire() as db:
        body = await results.with_result(db, answer.content)
    return Answer(body, status_code=answer.status_code, headers=answer.headers)


async def _refuse_future(submitter: JobSubmitter, dataset: str, version: int) -> None:
    """Raises Problem 422 for a version that no job can have told yet."""
    standing = await submitter.catalog.standing(submitter.pool, dataset)
    if standing is None or standing.version < version:
        detail = f"min_version: {dataset} is at version {standing.version if standing else 0}, not yet at {version}."
        raise Problem(
            422,
            "unknown_version",
            detail,
            hint="Take the `version` of a job that has loaded what is to be found.",
            errors=[Detail(code="unknown_version", column="min_version", detail=detail)],
        )
