"""GET /v1/jobs and /v1/jobs/{id}: jobs and their state."""

import operator
from functools import reduce
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.http import preferences
from services.gateway.http.problems import Detail, Problem, parse_job_id, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import cancel, event_stream, kinds, queries, retry, why
from services.gateway.jobs.job import JobBody, Status
from services.gateway.jobs.kinds import to_body
from services.gateway.jobs.respond import RETRY_SECONDS, applied_preference
from services.gateway.jobs.waiters import JobWaiters
from shared.db import Pool

MAX_PAGES = 1000


class Jobs(msgspec.Struct, frozen=True):
    """A page of jobs, newest first. `next` is the `before` of the next page, or null at the end."""

    data: list[JobBody]
    next: UUID | None


def handlers() -> list[HTTPRouteHandler]:
    """Returns the routes about jobs, described with the bodies of all registered kinds."""
    bodies: Any = reduce(operator.or_, dict.fromkeys(kind.body for kind in kinds.registered()))
    results = " ".join(kind.result for kind in kinds.registered() if kind.result)
    read = get(
        "/v1/jobs/{job:str}",
        tags=["jobs"],
        summary="One job: its state, progress and outcome",
        description="With `Prefer: wait=N` the response is sent when the job has ended, or after N seconds. " + results,
        opt={"scope": "read"},
        responses={**responses(404, 422), 200: ResponseSpec(data_container=bodies, description="The job")},
    )
    return [list_jobs, read(read_job), event_stream.follow_job, cancel.cancel_job, retry.retry_job, why.explain_job]


@get("/v1/jobs", tags=["jobs"], summary="List jobs, newest first", opt={"scope": "read"}, responses=responses(422))
async def list_jobs(
    pool: Pool,
    dataset: str | None = None,
    status: Status | None = None,
    limit: Annotated[int, Parameter(ge=1, le=200)] = 20,
    before: Annotated[UUID | None, Parameter(description="The `next` of the previous page")] = None,
) -> Answer[Jobs]:
    """Returns a page of jobs, filtered by dataset and status."""
    async with pool.acquire() as db:
        jobs = await queries.select_jobs(db, dataset=dataset, status=status, limit=limit + 1, before=before)
        now = await queries.select_now(db)
    page = jobs[:limit]
    return Answer(Jobs([to_body(job, now) for job in page], page[-1].id if len(jobs) > limit else None))


async def read_job(
    pool: Pool,
    waiters: JobWaiters,
    job: str,
    page: Annotated[
        int | None, Parameter(ge=1, le=MAX_PAGES, description="Page of the hits of a search job, from 1")
    ] = None,
    limit: Annotated[
        int | None, Parameter(ge=1, le=200, description="Hits per page of a search job, 10 by default")
    ] = None,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N")] = None,
) -> Answer[JobBody]:
    """Returns the job with status 200, in whatever state it is."""
    seconds = preferences.wait_seconds(prefer)
    body = await waiters.wait(parse_job_id(job), seconds or 0)
    read_result = kinds.find(body.kind).read_result
    if read_result is not None:
        async with pool.acquire() as db:
            body = await read_result(db, body, page, limit)
    elif page or limit:
        detail = f"Job {body.id} has no pages: its kind is {body.kind}."
        errors = [Detail(code="unfit_parameter", column="page" if page else "limit", detail=detail)]
        raise Problem(422, "unfit_parameter", detail, errors=errors)
    headers = applied_preference(seconds, body)
    return Answer(body, headers=headers if body.ended else {**headers, "Retry-After": str(RETRY_SECONDS)})
