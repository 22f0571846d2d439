"""POST /v1/datasets/{dataset}/partitions/{year}/detach: detaches a year from a dataset, as a job."""

import re
from typing import Any

import msgspec
from litestar import Request, post

from services.gateway.catalog import Catalog
from services.gateway.datasets import partitions
from services.gateway.datasets.partitions import Partitions
from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import Problem, not_found, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import exclusive, follow, kinds, queries
from services.gateway.jobs.job import Job, JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import job_responses, respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from shared.contracts.commands import PlanDetach
from shared.db import Connection, Pool
from shared.reads.ingestor.partitions import detached_name

YEAR = re.compile("[0-9]{4}")


class DetachJobBody(JobBody, frozen=True, kw_only=True):
    """A job that detaches a year. When it has succeeded, `table` has the rows; `outcome.deleted` is their number."""

    year: int
    table: str


def to_body(job: Job, body: JobBody) -> DetachJobBody:
    """Adds the year and its table."""
    table = detached_name(job.dataset, job.target or "")
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


@post(
    "/v1/datasets/{dataset:str}/partitions/{year:str}/detach",
    tags=["datasets"],
    summary="Detach a year from a dataset",
    description="Starts a job. When it has ended, rows, searches and reports no longer include the year. No row is"
    " lost: all are in the table `detached.DATASET__YEAR`. A later import of rows of the year creates a new partition."
    " While the job runs, another request for the year returns the same job, with `Millrace-Attached: true`.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 409, 422),
        **job_responses(DetachJobBody),
    },
)
async def detach(
    request: Request[Any, Any, Any],
    dataset: str,
    year: str,
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Starts a job, or joins the running one."""
    declaration = await catalog.dataset(pool, dataset)
    partitions.check_partitioned(declaration)
    command = PlanDetach(dataset=dataset, job_id=uuid7(), year=int(year) if YEAR.fullmatch(year) else 0)
    job_request = kinds.build_request(
        DETACH, command, year, api_key=request.user.id, idempotency_key=idempotency_key, deadline=deadline
    )
    async with pool.acquire() as db, db.transaction():
        existing = await partitions.select_partitions(db, declaration)
        if not await _has_job(db, job_request):
            _check_year(dataset, year, existing)
    return await respond(submitter, await submitter.submit(job_request), prefer)


async def _has_job(db: Connection, request: JobRequest) -> bool:
    """Returns whether the request will return an existing job, whose year may be detached by now."""
    if await exclusive.select_running(db, request) is not None:
        return True
    if request.api_key is None or request.idempotency_key is None:
        return False
    attached = await exclusive.select_attached(db, request.api_key, request.idempotency_key)
    return (
        attached is not None
        or await queries.select_by_idempotency_key(db, request.api_key, request.idempotency_key) is not None
    )


def _check_year(dataset: str, year: str, existing: Partitions) -> None:
    """Raises Problem 404 if there is no such year, 409 if its detached table exists already."""
    if year not in {str(partition.year) for partition in existing.data}:
        years = ", ".join(str(partition.year) for partition in existing.data)
        raise not_found(f"year of {dataset}", year, hint=f"There are: {years}." if years else "It has no years yet.")
    for other in existing.detached:
        if str(other.year) == year:
            detail = f"{other.table} exists already: the year was detached before."
            hint = f"Drop the table, or move it: CREATE SCHEMA archive; ALTER TABLE {other.table} SET SCHEMA archive;"
            raise Problem(409, "detached_already", detail, hint=hint)
