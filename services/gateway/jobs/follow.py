"""Follows jobs: an event of another service moves the job on and may become a public event."""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
import structlog

from services.gateway.jobs import cancellations, event_log, kinds, progress, queries
from services.gateway.jobs.job import Job
from services.gateway.jobs.kinds import to_body
from shared.bus.routes import on
from shared.contracts.events import (
    ChunkCounted,
    ChunkIndexed,
    ChunkLoaded,
    ImportPlanned,
    ImportRejected,
    ImportStopped,
    JobCanceled,
    JobFailed,
    JobPartial,
    JobProgress,
    JobRetried,
    JobStarted,
    JobSucceeded,
    WorkFailed,
)
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection
from shared.reads.ingestor import imports
from shared.telemetry import metrics

PROGRESS_EVERY = dt.timedelta(seconds=1)
End = JobSucceeded | JobPartial | JobFailed | JobCanceled
ENDS: dict[str, type[End]] = {
    "succeeded": JobSucceeded,
    "partial": JobPartial,
    "failed": JobFailed,
    "canceled": JobCanceled,
}
log = structlog.get_logger()

Announcement = JobStarted | JobProgress | JobRetried | End
JobEvents = list[Announcement]


async def follow_planned(event: ImportPlanned, db: Connection) -> JobEvents:
    """Records the number of chunks."""
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    planned = msgspec.structs.replace(
        job,
        chunks=event.chunks,
        bytes_planned=event.bytes,
        bytes_total=job.bytes_total or event.bytes,
        warning=event.warning,
    )
    return await advance(db, job, planned)


async def follow_rejected(event: ImportRejected, db: Connection) -> JobEvents:
    """Fails the job: the file is not in the declared format."""
    return await fail(db, event.job_id, event.problem)


async def follow_stopped(event: ImportStopped, db: Connection) -> JobEvents:
    """Fails the job: too many rows failed, or a replacement would delete too many rows."""
    return await fail(db, event.job_id, event.problem, event.outcome)


async def follow_loaded(event: ChunkLoaded, db: Connection) -> JobEvents:
    """Records that a chunk is in the table."""
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    await queries.upsert_loaded(db, event)
    return await advance(db, job, job)


async def follow_indexed(event: ChunkIndexed, db: Connection) -> JobEvents:
    """Records that a chunk is searchable."""
    return await _mark_chunk(db, event)


async def follow_counted(event: ChunkCounted, db: Connection) -> JobEvents:
    """Records that a chunk is in the rollups."""
    return await _mark_chunk(db, event)


async def follow_failure(event: WorkFailed, db: Connection) -> JobEvents:
    """Fails the job: a service gave up on one of its messages. A job that is being stopped ends with its reason."""
    if await cancellations.select_reason(db, event.job_id) is not None:
        return []
    return await fail(db, event.job_id, event.problem)


async def succeed(db: Connection, job_id: UUID, version: int, result: dict[str, Any] | None = None) -> JobEvents:
    """Ends a job without chunks; `version` is the version of the dataset that its result includes."""
    job = await queries.lock_job(db, job_id)
    if job is None or job.ended:
        return []
    now = await queries.select_now(db)
    return await save_and_announce(
        db, job, msgspec.structs.replace(progress.succeed(job, version, now), result=result), now
    )


def init_metrics() -> None:
    """Creates the series of finished jobs, so that the first job is an increase and not the start of a series."""
    for kind in kinds.registered():
        for status in ENDS:
            metrics.JOBS_ENDED.labels(kind.name, status)


async def _mark_chunk(db: Connection, event: ChunkIndexed | ChunkCounted) -> JobEvents:
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    await queries.upsert_mark(db, event)
    return await advance(db, job, job)


async def advance(db: Connection, before: Job, current: Job) -> JobEvents:
    """Moves the job on by the chunks that have arrived; `current` has the changes that are not saved yet."""
    now = await queries.select_now(db)
    after = progress.advance(current, await queries.select_tally(db, before.id), now)
    # ImportStopped is sent together with the last ChunkLoaded, and may arrive after it.
    if after.ended and after.outcome.failed and (problem := await imports.select_stopped(db, before.id)):
        after = progress.fail(
            msgspec.structs.replace(before, outcome=after.outcome, version=after.version), problem, now
        )
    return await save_and_announce(db, before, after, now)


async def fail(db: Connection, job_id: UUID, problem: Problem, outcome: Outcome | None = None) -> JobEvents:
    """Ends a job with a problem; `outcome` counts the rows that stay."""
    job = await queries.lock_job(db, job_id)
    if job is None:
        return []
    now = await queries.select_now(db)
    current = job if outcome is None or job.ended else msgspec.structs.replace(job, outcome=outcome)
    return await save_and_announce(db, job, progress.fail(current, problem, now), now)


async def save_and_announce(db: Connection, before: Job, after: Job, now: dt.datetime) -> JobEvents:
    """Saves the job and returns its public events: started, progress (at most once a second), and the end."""
    if before.ended:
        if after != before:  # a plan that arrives late, which a retry needs
            await queries.update_job(db, after)
        return []
    types: list[type[JobStarted | JobProgress | End]] = []
    if before.status == "queued":
        types.append(JobStarted)
    if after.ended:
        types.append(ENDS[after.status])
    elif before.status != "queued" and now - before.announced_at >= PROGRESS_EVERY:
        types.append(JobProgress)
    announced: JobEvents = []
    job = after
    for event_type in types:
        job = msgspec.structs.replace(job, sequence=job.sequence + 1, announced_at=now)
        body = msgspec.to_builtins(to_body(job, now))
        announced.append(event_type(dataset=job.dataset, job_id=job.id, sequence=job.sequence, run=job.run, job=body))
    if announced:
        await event_log.insert_events(db, announced)
    await queries.update_job(db, job)
    if job.ended:
        _record_end(job)
    return announced


def _record_end(job: Job) -> None:
    metrics.JOBS_ENDED.labels(job.kind, job.status).inc()
    if job.finished_at:
        metrics.JOB_SECONDS.labels(job.kind).observe((job.finished_at - job.created_at).total_seconds())
    if job.error and job.error.code == "accounting":
        metrics.ACCOUNTING_VIOLATIONS.inc()
    log.info("job ended", job=str(job.id), status=job.status, outcome=msgspec.to_builtins(job.outcome))


LOAD_ROUTES = (
    on(ImportPlanned, follow_planned, then=JobEvents),
    on(ImportRejected, follow_rejected, then=JobEvents),
    on(ImportStopped, follow_stopped, then=JobEvents),
    on(ChunkLoaded, follow_loaded, then=JobEvents, concurrency=4),
    on(ChunkIndexed, follow_indexed, then=JobEvents, concurrency=4),
    on(ChunkCounted, follow_counted, then=JobEvents, concurrency=4),
)
"""The events of every job that loads chunks."""
WORK_FAILED = on(WorkFailed, follow_failure, then=JobEvents)
"""The event of any job when a service has given up its work."""
