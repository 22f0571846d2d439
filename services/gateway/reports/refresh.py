"""POST /v1/reports/{report}/refreshes: brings a report up to date, as a job."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import kinds, progress, queries
from services.gateway.jobs.follow import Announcement, save_and_announce
from services.gateway.jobs.job import Job, JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.reports.recovery import ANALYTICS
from services.gateway.reports.registry import Reports
from shared.bus.routes import on
from shared.contracts.commands import RefreshReport
from shared.contracts.events import ReportRefreshed
from shared.db import Connection, Pool


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """The report includes these versions of its datasets; so many chunks had to be counted for that."""

    versions: dict[str, int]
    chunks: int


class RefreshJobBody(JobBody, frozen=True, kw_only=True):
    """A job that brings a report up to what is loaded. `result` is null until it has succeeded."""

    report: str
    result: Refreshed | None


def to_body(job: Job, body: JobBody) -> RefreshJobBody:
    """Adds the report and the result."""
    result = msgspec.convert(job.result, Refreshed | None) if job.status == "succeeded" else None
    return RefreshJobBody(**msgspec.structs.asdict(body), report=job.target or "", result=result)


async def join(db: Connection, request: JobRequest, job_id: UUID) -> bool:
    """Makes the job wait for everything loaded by now, also for a request that joined it later.

    Reads the versions under the job's lock, in a statement of their own, so that they never fall.
    """
    if not await db.fetchval("SELECT true FROM jobs WHERE id = $1 AND finished_at IS NULL FOR UPDATE", job_id):
        return False
    await db.execute(
        """
        UPDATE jobs SET wanted = (
            SELECT jsonb_object_agg(name, version) FROM ingestor.datasets
            WHERE name IN (SELECT json_array_elements_text($2::json->'datasets'))
        ) WHERE id = $1
        """,
        job_id,
        request.command,
    )
    return True


async def select_wanted(db: Connection, job_id: UUID) -> dict[str, int]:
    """Selects the versions of datasets that the requests for a refresh wait for."""
    wanted: dict[str, int] | None = await db.fetchval("SELECT wanted FROM jobs WHERE id = $1", job_id)
    return wanted or {}


async def update_command(db: Connection, command: RefreshReport) -> None:
    """Saves the latest command of the job, for recovery."""
    await db.execute("UPDATE jobs SET command = $2 WHERE id = $1", command.job_id, command)


async def follow_refreshed(event: ReportRefreshed, db: Connection) -> list[Announcement | RefreshReport]:
    """The job has ended, unless somebody who joined it meanwhile wants more than was loaded when it began."""
    job = await queries.lock_job(db, event.job_id)
    if job is None or job.ended:
        return []
    now = await queries.select_now(db)
    wanted = await select_wanted(db, job.id)
    chunks = event.chunks + (job.result or {}).get("chunks", 0)
    result = {"versions": event.versions, "chunks": chunks}
    if any(event.versions.get(name, 0) < version for name, version in wanted.items()):
        command = RefreshReport(
            dataset=job.dataset,
            job_id=job.id,
            report=event.report,
            datasets=tuple(wanted),
            round=event.round + 1,
        )
        await update_command(db, command)
        begun = msgspec.structs.replace(job, status="running", started_at=job.started_at or now, result=result)
        return [*await save_and_announce(db, job, begun, now), command]
    ended = progress.succeed(job, event.versions.get(job.dataset, 0), now)
    return [*await save_and_announce(db, job, msgspec.structs.replace(ended, result=result), now)]


REFRESH = kinds.register(
    JobKind(
        name="refresh",
        command=RefreshReport,
        owner="analytics",
        routes=(on(ReportRefreshed, follow_refreshed, then=list[Announcement | RefreshReport]),),
        phase="count",
        exclusive="report",
        join=join,
        body=RefreshJobBody,
        to_body=to_body,
        result="The `result` of a refresh has the `versions` that its report includes and the number of `chunks` that"
        " were counted for it.",
        recovery=ANALYTICS,
    )
)


@post(
    "/v1/reports/{report:str}/refreshes",
    tags=["reports"],
    summary="Bring a report up to what is loaded",
    description="As a job: when it has succeeded, the report shows everything that was loaded when it was asked for."
    " Reports follow by themselves within moments; this is for those who must be sure. While a refresh of the report is"
    " under way no other begins: the answer is that job, with `Millrace-Attached: true`. `Prefer: wait=N` waits for the"
    " job to end; with an `Idempotency-Key` the same request can be sent again safely.",
    opt={"scope": "write"},
    status_code=202,
    responses={
        **responses(404, 422, 503),
        202: ResponseSpec(data_container=RefreshJobBody, description="The job, under way"),
        200: ResponseSpec(data_container=RefreshJobBody, description="The job, ended"),
    },
)
async def refresh_report(
    request: Request[Any, Any, Any],
    report: str,
    pool: Pool,
    submitter: JobSubmitter,
    reports: Reports,
    stopping: asyncio.Event,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """The job that begins, or the one under way."""
    datasets = (await reports.ready(pool, report)).report.datasets
    command = RefreshReport(dataset=datasets[0], job_id=uuid7(), report=report, datasets=datasets)
    job = kinds.build_request(REFRESH, command, report, api_key=request.user.id, idempotency_key=idempotency_key)
    return await respond(pool, stopping, await submitter.submit(job), prefer)
