"""POST /v1/reports/{report}/refreshes: refreshes a report, as a job."""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, post

from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import kinds, progress, queries
from services.gateway.jobs.announcements import Announcement, save_and_announce
from services.gateway.jobs.job import Job, JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import job_responses, respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.reports.registry import ReportRegistry
from shared.bus.routes import on
from shared.contracts.commands import RefreshReport
from shared.contracts.events import ReportRefreshed
from shared.db import Connection, Pool
from shared.reads.ingestor.tables import DATASETS


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """The dataset versions that the report includes, and the number of chunks that were counted for it."""

    versions: dict[str, int]
    chunks: int


class RefreshJobBody(JobBody, frozen=True, kw_only=True):
    """A job that brings a report up to the loaded rows. `result` is null until it has succeeded."""

    report: str
    result: RefreshResult | None


def to_body(job: Job, body: JobBody) -> RefreshJobBody:
    """Adds the report and the result."""
    result = msgspec.convert(job.result, RefreshResult | None) if job.status == "succeeded" else None
    return RefreshJobBody(**msgspec.structs.asdict(body), report=job.target or "", result=result)


async def join(db: Connection, request: JobRequest, job_id: UUID) -> bool:
    """Makes the job wait for everything that is loaded now, also when a later request joins it.

    Reads the versions in a statement of their own, after locking the job, so that they never decrease.
    """
    if not await db.fetchval("SELECT true FROM jobs WHERE id = $1 AND finished_at IS NULL FOR UPDATE", job_id):
        return False
    await db.execute(
        f"""
        UPDATE jobs SET wanted = (
            SELECT jsonb_object_agg(name, version) FROM {DATASETS}
            WHERE name IN (SELECT json_array_elements_text($2::json->'datasets'))
        ) WHERE id = $1
        """,
        job_id,
        request.command,
    )
    return True


async def select_target_versions(db: Connection, job_id: UUID) -> dict[str, int]:
    """Selects the dataset versions that the requests for this refresh wait for."""
    versions: dict[str, int] | None = await db.fetchval("SELECT wanted FROM jobs WHERE id = $1", job_id)
    return versions or {}


async def follow_refreshed(event: ReportRefreshed, db: Connection) -> list[Announcement | RefreshReport]:
    """Ends the job, or starts another round if a request that joined it waits for newer versions."""
    found = await queries.lock_job(db, event.job_id)
    if found is None or found[0].ended:
        return []
    job, now = found
    targets = await select_target_versions(db, job.id)
    chunks = event.chunks + (job.result or {}).get("chunks", 0)
    result = {"versions": event.versions, "chunks": chunks}
    if any(event.versions.get(name, 0) < version for name, version in targets.items()):
        command = RefreshReport(
            dataset=job.dataset,
            job_id=job.id,
            report=event.report,
            datasets=tuple(targets),
            round=event.round + 1,
        )
        running = msgspec.structs.replace(job, status="running", started_at=job.started_at or now, result=result)
        return [*await save_and_announce(db, [(job, running)], now), command]
    ended = progress.succeed(job, event.versions.get(job.dataset, 0), now)
    return [*await save_and_announce(db, [(job, msgspec.structs.replace(ended, result=result))], now)]


REFRESH = kinds.register(
    JobKind(
        name="refresh",
        command=RefreshReport,
        owner="analytics",
        routes=(on(ReportRefreshed, follow_refreshed, then=list[Announcement | RefreshReport]),),
        phase="count",
        deadline=dt.timedelta(hours=1),
        exclusive="report",
        join=join,
        body=RefreshJobBody,
        to_body=to_body,
        result="The `result` of a refresh has the `versions` that its report includes and the number of `chunks` that"
        " were counted for it.",
    )
)


@post(
    "/v1/reports/{report:str}/refreshes",
    tags=["reports"],
    summary="Refresh a report",
    description="Starts a job. When it has succeeded, the report includes everything that was loaded at the request."
    " Reports follow on their own within moments; a refresh makes sure. While a refresh of the report is running, other"
    " requests return the same job, with `Millrace-Attached: true`. `Prefer: wait=N` waits for the job to end. With an"
    " `Idempotency-Key`, the request can be repeated safely.",
    opt={"scope": "write"},
    status_code=202,
    responses={
        **responses(404, 422, 503),
        **job_responses(RefreshJobBody),
    },
)
async def refresh_report(
    request: Request[Any, Any, Any],
    report: str,
    pool: Pool,
    submitter: JobSubmitter,
    reports: ReportRegistry,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Starts a job, or joins the running one."""
    datasets = (await reports.ready(pool, report)).report.datasets
    command = RefreshReport(dataset=datasets[0], job_id=uuid7(), report=report, datasets=datasets)
    job_request = kinds.build_request(
        REFRESH, command, report, api_key=request.user.id, idempotency_key=idempotency_key, deadline=deadline
    )
    return await respond(submitter, await submitter.submit(job_request), prefer)
