"""GET /v1/datasets/{dataset}/partitions and POST …/{year}/detach: the years of a dataset, and taking one out of it."""

import asyncio
import re
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.datasets import partitions
from services.gateway.datasets.partitions import Partitions
from services.gateway.http.problems import Problem, not_found, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import exclusive, follow, kinds, queries
from services.gateway.jobs.job import Job, JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from shared.contracts.commands import PlanDetach
from shared.db import Connection, Pool

YEAR = re.compile("[0-9]{4}")


class DetachJobBody(JobBody, frozen=True, kw_only=True):
    """A job that detaches a year. Once it has succeeded, `table` has the rows; `outcome.deleted` is their number."""

    year: int
    table: str


def to_body(job: Job, body: JobBody) -> DetachJobBody:
    """Adds the year and its table."""
    table = f"detached.{job.dataset}__{job.target}"
    return DetachJobBody(**msgspec.structs.asdict(body), year=int(job.target or 0), table=table)


DETACH = kinds.register(
    JobKind(
        name="detach",
        command=PlanDetach,
        owner="ingestor",
        routes=follow.LOAD_ROUTES,
        exclusive="year",
        body=DetachJobBody,
        to_body=to_body,
        result="A job that detaches a year has the name of its `table`.",
    )
)


@get(
    "/v1/datasets/{dataset:str}/partitions",
    tags=["datasets"],
    summary="The years of a partitioned dataset",
    description="A table each, with the rows `from` a day on and before `to`. Rows of small ones are counted, those of"
    " others are estimated by Postgres: `count` says which. `detached` are the tables of years that were detached.",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def list_partitions(pool: Pool, catalog: Catalog, dataset: str) -> Answer[Partitions]:
    """The oldest first."""
    declared = await catalog.dataset(pool, dataset)
    partitions.refuse_unpartitioned(declared)
    async with pool.acquire() as db:
        return Answer(await partitions.select_partitions(db, declared))


@post(
    "/v1/datasets/{dataset:str}/partitions/{year:str}/detach",
    tags=["datasets"],
    summary="Take a year out of a dataset",
    description="As a job: the rows of the year are no longer read, found or summed up, and nothing of them is lost:"
    " their table is `detached.DATASET__YEAR` from then on. A file with rows of the year begins it anew. While the year"
    " is being detached, who asks again is answered with that job, and `Millrace-Attached: true`.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 409, 422),
        202: ResponseSpec(data_container=DetachJobBody, description="The job, under way"),
        200: ResponseSpec(data_container=DetachJobBody, description="The job, ended"),
    },
)
async def detach(
    request: Request[Any, Any, Any],
    dataset: str,
    year: str,
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    stopping: asyncio.Event,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """The job that begins, or the one under way."""
    declared = await catalog.dataset(pool, dataset)
    partitions.refuse_unpartitioned(declared)
    command = PlanDetach(dataset=dataset, job_id=uuid7(), year=int(year) if YEAR.fullmatch(year) else 0)
    job = kinds.build_request(DETACH, command, year, api_key=request.user.id, idempotency_key=idempotency_key)
    async with pool.acquire() as db, db.transaction():
        known = await partitions.select_partitions(db, declared)
        if not await _known(db, job):
            _refuse(dataset, year, known)
    return await respond(pool, stopping, await submitter.submit(job), prefer)


async def _known(db: Connection, one: JobRequest) -> bool:
    """Whether the request gets an existing job as its answer; the year may be gone by now."""
    if await exclusive.select_running(db, one) is not None:
        return True
    if one.api_key is None or one.idempotency_key is None:
        return False
    attached = await exclusive.select_attached(db, one.api_key, one.idempotency_key)
    return (
        attached is not None
        or await queries.select_by_idempotency_key(db, one.api_key, one.idempotency_key) is not None
    )


def _refuse(dataset: str, year: str, known: Partitions) -> None:
    """Raises Problem 404 or 409."""
    if year not in {str(one.year) for one in known.data}:
        years = ", ".join(str(one.year) for one in known.data)
        raise not_found(f"year of {dataset}", year, hint=f"There are: {years}." if years else "It has no years yet.")
    for other in known.detached:
        if str(other.year) == year:
            detail = f"{other.table} is there already: the year was detached before."
            hint = (
                f"Drop it, or move it elsewhere: CREATE SCHEMA archive; ALTER TABLE {other.table} SET SCHEMA archive;"
            )
            raise Problem(409, "detached_already", detail, hint=hint)
