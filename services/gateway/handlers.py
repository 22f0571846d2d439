"""What the gateway decides: how a job moves when a service tells what it has done, and what the public is told."""

import datetime as dt
import time
from uuid import UUID

import msgspec
import structlog

from services.gateway import eventlog, progress, queries, refreshes, results, unfinished
from services.gateway.job import COMMANDS, Job, to_body
from shared.bus.routes import queue
from shared.contracts.events import (
    ChunkCounted,
    ChunkIndexed,
    ChunkLoaded,
    ImportPlanned,
    ImportRejected,
    ImportStopped,
    JobFailed,
    JobPartial,
    JobProgress,
    JobStarted,
    JobSucceeded,
    SearchCompleted,
    SourcePulled,
    WorkFailed,
)
from shared.contracts.message import Message
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection
from shared.spool import Spool
from shared.telemetry import metrics

OVERDUE_SECONDS = 30.0
STALLED_SECONDS = 3600.0
UNNEEDED_SECONDS = 3600.0
AT_ONCE = 100
TELL_EVERY = dt.timedelta(seconds=1)
End = JobSucceeded | JobPartial | JobFailed
ENDS: dict[str, type[End]] = {"succeeded": JobSucceeded, "partial": JobPartial, "failed": JobFailed}
log = structlog.get_logger()

Fact = JobStarted | JobProgress | JobSucceeded | JobPartial | JobFailed
Told = list[Fact]


async def follow_planned(event: ImportPlanned, db: Connection) -> Told:
    """Now it is known what the job waits for; of a file without rows it waits for nothing."""
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
    return await _advance(db, job, planned)


async def follow_rejected(event: ImportRejected, db: Connection) -> Told:
    """The file could not be read as what it was said to be."""
    return await _fail(db, event.job_id, event.problem)


async def follow_stopped(event: ImportStopped, db: Connection) -> Told:
    """Too many rows failed, or the rows would replace too many others."""
    return await _fail(db, event.job_id, event.problem, event.outcome)


async def follow_pulled(event: SourcePulled, db: Connection) -> Told:
    """The source has no more pages: now it is known what the job waits for."""
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    pulled = msgspec.structs.replace(
        job, chunks=event.chunks, bytes_planned=event.bytes, bytes_total=event.bytes, warning=event.warning
    )
    return await _advance(db, job, pulled)


async def follow_loaded(event: ChunkLoaded, db: Connection) -> Told:
    """One chunk is in the table."""
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    await queries.upsert_loaded(db, event)
    return await _advance(db, job, job)


async def follow_indexed(event: ChunkIndexed, db: Connection) -> Told:
    """One chunk can be searched."""
    return await _mark(db, event)


async def follow_counted(event: ChunkCounted, db: Connection) -> Told:
    """One chunk is in the rollups."""
    return await _mark(db, event)


async def follow_searched(event: SearchCompleted, db: Connection) -> Told:
    """The answer is there, and the job has ended."""
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    now = await queries.select_now(db)
    return await move(db, job, progress.answer(job, event.version, now), now)


async def follow_failure(event: WorkFailed, db: Connection) -> Told:
    """A service gave up."""
    return await _fail(db, event.job_id, event.problem)


def show_zeros() -> None:
    """So that the first job is an increase for those who watch, and not the beginning of a series."""
    for kind in COMMANDS:
        for status in ENDS:
            metrics.JOBS_ENDED.labels(kind, status)


async def sweep(db: Connection, spool: Spool) -> list[tuple[str, Message]]:
    """What was lost on the way, jobs that nobody works on any more, files that nobody needs."""
    states = await queries.select_job_states(db)
    metrics.JOBS.clear()
    for kind, status, count, _ in states:
        metrics.JOBS.labels(kind, status).set(count)
    metrics.OLDEST_JOB_SECONDS.set(max((age for _, status, _, age in states if status not in ENDS), default=0.0))
    await unfinished.forget_idempotency_keys(db)
    await _tidy(db, spool)
    unplanned = await unfinished.select_unplanned(db, seconds=OVERDUE_SECONDS, limit=AT_ONCE)
    unplanned += await results.select_unanswered(db, seconds=OVERDUE_SECONDS, limit=AT_ONCE)
    unplanned += await refreshes.select_unanswered(db, seconds=OVERDUE_SECONDS, limit=AT_ONCE)
    unheard = await unfinished.select_unheard(db, seconds=OVERDUE_SECONDS, limit=AT_ONCE)
    unheard += await results.select_unheard(db, seconds=OVERDUE_SECONDS, limit=AT_ONCE)
    unheard += await refreshes.select_unheard(db, seconds=OVERDUE_SECONDS, limit=AT_ONCE)
    found: list[tuple[str, Message]] = [("", command) for command in unplanned]
    found += [(queue("gateway", type(event)), event) for event in unheard]
    for job_id in await unfinished.select_stalled(db, seconds=STALLED_SECONDS, limit=AT_ONCE):
        problem = Problem(
            code="stalled",
            detail=f"Nothing was heard of this job for {STALLED_SECONDS:.0f} seconds.",
            hint="Check that all services run, then import again: rows that are loaded already are left unchanged.",
        )
        found += [("", event) for event in await _fail(db, job_id, problem)]
    return found


async def _mark(db: Connection, event: ChunkIndexed | ChunkCounted) -> Told:
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    await queries.upsert_mark(db, event)
    return await _advance(db, job, job)


async def _advance(db: Connection, before: Job, known: Job) -> Told:
    now = await queries.select_now(db)
    after = progress.advance(known, await queries.select_tally(db, before.id), now)
    # Whatever stopped a job was said together with the chunk that was too much, and may be heard after it.
    if after.ended and after.outcome.failed and (problem := await unfinished.select_stopped(db, before.id)):
        after = progress.fail(
            msgspec.structs.replace(before, outcome=after.outcome, version=after.version), problem, now
        )
    return await move(db, before, after, now)


async def _fail(db: Connection, job_id: UUID, problem: Problem, outcome: Outcome | None = None) -> Told:
    job = await queries.lock_job(db, job_id)
    if job is None:
        return []
    now = await queries.select_now(db)
    counted = job if outcome is None or job.ended else msgspec.structs.replace(job, outcome=outcome)
    return await move(db, job, progress.fail(counted, problem, now), now)


async def move(db: Connection, before: Job, after: Job, now: dt.datetime) -> Told:
    """Keeps the job and tells what is new: that it began, at most once a second how far it is, and how it ended."""
    if before.ended:
        return []
    kinds: list[type[JobStarted | JobProgress | End]] = []
    if before.status == "queued":
        kinds.append(JobStarted)
    if after.ended:
        kinds.append(ENDS[after.status])
    elif before.status != "queued" and now - before.told_at >= TELL_EVERY:
        kinds.append(JobProgress)
    told: Told = []
    job = after
    for kind in kinds:
        job = msgspec.structs.replace(job, sequence=job.sequence + 1, told_at=now)
        body = msgspec.to_builtins(to_body(job, now))
        told.append(kind(dataset=job.dataset, job_id=job.id, sequence=job.sequence, job=body))
    if told:
        await eventlog.insert_events(db, told)
    await queries.update_job(db, job)
    if job.ended:
        _measure(job)
    return told


async def _tidy(db: Connection, spool: Spool) -> None:
    """Files of ended jobs, and what an upload left behind that was cut off by a crash."""
    old = [name for name, changed in spool.files() if time.time() - changed > UNNEEDED_SECONDS]
    needed = await unfinished.select_needed_files(db, old)
    for name in old:
        if name not in needed:
            spool.delete(name)


def _measure(job: Job) -> None:
    metrics.JOBS_ENDED.labels(job.kind, job.status).inc()
    if job.finished_at:
        metrics.JOB_SECONDS.labels(job.kind).observe((job.finished_at - job.created_at).total_seconds())
    if job.error and job.error.code == "accounting":
        metrics.ACCOUNTING_VIOLATIONS.inc()
    log.info("job ended", job=str(job.id), status=job.status, outcome=msgspec.to_builtins(job.outcome))
