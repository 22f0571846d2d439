"""GET /v1/jobs and /v1/jobs/{id}: what was accepted, and what has become of it."""

import asyncio
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.params import Parameter

from services.gateway import preferences, queries, results
from services.gateway.answers import Answer
from services.gateway.job import DetachJobBody, Job, JobBody, RebuildJobBody, RefreshJobBody, Status, to_body
from services.gateway.problems import Detail, Problem, not_found, responses, to_job_id
from services.gateway.results import SearchJobBody
from shared.db import Connection, Pool

MOST_PAGES = 1000


class Jobs(msgspec.Struct, frozen=True):
    """Newest first; `next` is the `before` of the next page, or null at the end."""

    data: list[JobBody]
    next: UUID | None


@get("/v1/jobs", tags=["jobs"], summary="List jobs, newest first", opt={"scope": "read"}, responses=responses(422))
async def list_jobs(
    pool: Pool,
    dataset: str | None = None,
    status: Status | None = None,
    limit: Annotated[int, Parameter(ge=1, le=200)] = 20,
    before: Annotated[UUID | None, Parameter(description="The `next` of the page before")] = None,
) -> Answer[Jobs]:
    """Filtered by dataset and status."""
    async with pool.acquire() as db:
        found = await queries.select_jobs(db, dataset=dataset, status=status, limit=limit + 1, before=before)
        now = await queries.select_now(db)
    page = found[:limit]
    return Answer(Jobs([to_body(job, now) for job in page], page[-1].id if len(found) > limit else None))


@get(
    "/v1/jobs/{job:str}",
    tags=["jobs"],
    summary="One job: its state, progress and outcome",
    description="With `Prefer: wait=N` the answer comes when the job has ended, or after N seconds. A search has a page"
    " of what it found under `result`: null until it has succeeded, and again when it is `expired`. A refresh has there"
    " the `versions` that its report shows and how many `chunks` were counted for it; a rebuild the `groups` of its"
    " rollup, and how many were `mended`. One that detaches a year names its `table`.",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def read_job(
    pool: Pool,
    stopping: asyncio.Event,
    job: str,
    page: Annotated[int | None, Parameter(ge=1, le=MOST_PAGES, description="Of the hits of a search: 1")] = None,
    limit: Annotated[int | None, Parameter(ge=1, le=200, description="Hits on a page of a search: 10")] = None,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N")] = None,
) -> Answer[JobBody | SearchJobBody | RefreshJobBody | RebuildJobBody | DetachJobBody]:
    """200 whatever the job has come to."""
    seconds = preferences.wait_seconds(prefer)
    found, now = await preferences.wait(pool, stopping, to_job_id(job), seconds)
    body = to_body(found, now)
    if found.kind == "search":
        async with pool.acquire() as db:
            body = await results.with_result(db, body, page or 1, limit or results.PAGE)
    elif page or limit:
        detail = f"Job {found.id} is no search: it has no pages."
        errors = [Detail(code="unfit_parameter", column="page" if page else "limit", detail=detail)]
        raise Problem(422, "unfit_parameter", detail, errors=errors)
    headers = preferences.applied(seconds, found)
    return Answer(body, headers=headers if found.ended else {**headers, "Retry-After": str(preferences.RETRY_SECONDS)})


async def find(db: Connection, text: str) -> Job:
    """Raises Problem 404."""
    found = await queries.select_job(db, to_job_id(text))
    if found is None:
        raise not_found("job", text)
    return found[0]
