"""Follows jobs: events of other services move jobs on and may become public events."""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from services.gateway.jobs import cancellations, chunks, progress, queries
from services.gateway.jobs.announcements import JobEvents, Step, save_and_announce
from services.gateway.jobs.job import Job
from services.gateway.jobs.progress import Tally
from shared.bus.routes import on
from shared.contracts.events import (
    ChunkCounted,
    ChunkEvent,
    ChunkIndexed,
    ChunkLoaded,
    ImportPlanned,
    ImportRejected,
    ImportStopped,
    WorkFailed,
)
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection
from shared.reads.ingestor import imports

TOGETHER = 400
E = TypeVar("E", bound=ChunkEvent)


async def follow_planned(event: ImportPlanned, db: Connection) -> JobEvents:
    """Records the number of chunks."""
    found = await queries.lock_job(db, event.job_id)
    if found is None:
        return []
    job, now = found
    planned = msgspec.structs.replace(
        job,
        chunks=event.chunks,
        bytes_planned=event.bytes,
        bytes_total=job.bytes_total or event.bytes,
        warning=event.warning,
    )
    return await advance(db, job, planned, now)


async def follow_rejected(event: ImportRejected, db: Connection) -> JobEvents:
    """Fails the job: the file is not in the declared format."""
    return await fail(db, event.job_id, event.problem)


async def follow_stopped(event: ImportStopped, db: Connection) -> JobEvents:
    """Fails the job: too many rows failed, or a replacement would delete too many rows."""
    return await fail(db, event.job_id, event.problem, event.outcome)


async def follow_loaded(events: Sequence[ChunkLoaded], db: Connection) -> JobEvents:
    """Records that chunks are in their tables."""
    return await _follow_chunks(db, events, chunks.record_loaded)


async def follow_indexed(events: Sequence[ChunkIndexed], db: Connection) -> JobEvents:
    """Records that chunks are searchable."""
    return await _follow_chunks(db, events, chunks.record_indexed)


async def follow_counted(events: Sequence[ChunkCounted], db: Connection) -> JobEvents:
    """Records that chunks are in the rollups."""
    return await _follow_chunks(db, events, chunks.record_counted)


async def follow_failure(event: WorkFailed, db: Connection) -> JobEvents:
    """Fails the job: a service gave up on one of its messages. A job that is being stopped ends with its reason."""
    if await cancellations.select_reason(db, event.job_id) is not None:
        return []
    return await fail(db, event.job_id, event.problem)


async def succeed(db: Connection, job_id: UUID, version: int, result: dict[str, Any] | None = None) -> JobEvents:
    """Ends a job without chunks; `version` is the version of the dataset that its result includes."""
    found = await queries.lock_job(db, job_id)
    if found is None or found[0].ended:
        return []
    job, now = found
    after = msgspec.structs.replace(progress.succeed(job, version, now), result=result)
    return await save_and_announce(db, [(job, after)], now)


async def fail(db: Connection, job_id: UUID, problem: Problem, outcome: Outcome | None = None) -> JobEvents:
    """Ends a job with a problem; `outcome` counts the rows that stay."""
    found = await queries.lock_job(db, job_id)
    if found is None:
        return []
    job, now = found
    current = job if outcome is None or job.ended else msgspec.structs.replace(job, outcome=outcome)
    return await save_and_announce(db, [(job, progress.fail(current, problem, now))], now)


async def advance(db: Connection, before: Job, current: Job, now: dt.datetime) -> JobEvents:
    """Moves the job on by the chunks that have arrived; `current` has the changes that are not saved yet."""
    return await _advance(db, [(before, current)], {before.id: await chunks.select_tally(db, before.id)}, now)


async def _follow_chunks(
    db: Connection,
    events: Sequence[E],
    record: Callable[[Connection, Sequence[E]], Awaitable[dict[UUID, Tally]]],
) -> JobEvents:
    """Moves the jobs of the events on, each by one step."""
    jobs, now = await queries.lock_jobs(db, [event.job_id for event in events])
    known = [event for event in events if event.job_id in jobs]
    if not known:
        return []
    return await _advance(db, [(job, job) for job in jobs.values()], await record(db, known), now)


async def _advance(db: Connection, steps: Sequence[Step], tallies: Mapping[UUID, Tally], now: dt.datetime) -> JobEvents:
    """Moves jobs on by the tallies of their chunks; a step's second job has the changes that are not saved yet."""
    moved = {
        before.id: (before, progress.advance(current, tallies.get(before.id, Tally()), now))
        for before, current in steps
    }
    # ImportStopped is sent together with the last ChunkLoaded, and may arrive after it.
    doubtful = [
        before.id for before, after in moved.values() if not before.ended and after.ended and after.outcome.failed
    ]
    for job_id, problem in (await imports.select_stopped(db, doubtful)).items():
        before, after = moved[job_id]
        stopped = msgspec.structs.replace(before, outcome=after.outcome, version=after.version)
        moved[job_id] = (before, progress.fail(stopped, problem, now))
    return await save_and_announce(db, list(moved.values()), now)


LOAD_ROUTES = (
    on(ImportPlanned, follow_planned, then=JobEvents),
    on(ImportRejected, follow_rejected, then=JobEvents),
    on(ImportStopped, follow_stopped, then=JobEvents),
    on(ChunkLoaded, follow_loaded, then=JobEvents, concurrency=4, together=TOGETHER),
    on(ChunkIndexed, follow_indexed, then=JobEvents, together=TOGETHER),
    on(ChunkCounted, follow_counted, then=JobEvents, together=TOGETHER),
)
"""The events of every job that loads chunks."""
WORK_FAILED = on(WorkFailed, follow_failure, then=JobEvents)
"""The event of any job when a service has given up its work."""
