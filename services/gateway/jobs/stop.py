"""Ends jobs that are canceled or past their deadline, as soon as none of their commands is open."""

from uuid import UUID

from services.gateway.jobs import cancellations, progress, queries
from services.gateway.jobs.announcements import JobEvents, save_and_announce
from services.gateway.jobs.cancellations import Reason
from services.gateway.jobs.job import Job
from shared.bus import open_messages, outbox
from shared.contracts.parts import Problem
from shared.db import Connection, Pool, transaction
from shared.reads.ingestor import imports
from shared.reads.ingestor.imports import LoadedChunks

EVERY_SECONDS = 0.25


async def run(pool: Pool) -> int:
    """Ends the jobs that have stopped. Several gateways may run it at once. Returns the number of events."""
    async with pool.acquire() as db:
        await cancellations.insert_overdue(db)
        job_ids = await cancellations.select_job_ids(db)
    sent = 0
    for job_id in job_ids:
        async with transaction(pool) as db:
            events = await end(db, job_id)
            await outbox.insert_messages(db, events)
        sent += len(events)
    return sent


async def end(db: Connection, job_id: UUID) -> JobEvents:
    """Ends the job if it has stopped, and returns its last events."""
    found = await queries.lock_job(db, job_id)
    reason = await cancellations.select_reason(db, job_id)
    if found is None or reason is None:
        return []
    job, now = found
    events: JobEvents = []
    if not job.ended:
        if await _is_running(db, job):
            return []
        loaded = await imports.select_loaded(db, job_id)
        after = progress.stop(job, _problem(job, reason, loaded), loaded, now, canceled=reason == "requested")
        events = await save_and_announce(db, [(job, after)], now)
    await cancellations.delete_cancellation(db, job_id)
    return events


async def _is_running(db: Connection, job: Job) -> bool:
    """Returns whether work of the job may still happen.

    The end of a job that loads no rows is an event of its command: if that is on the way, the work is done.
    """
    events = job.mode is None
    return await open_messages.count_open(db, job.id, events=events) > 0 or await open_messages.is_redriven(db, job.id)


def _problem(job: Job, reason: Reason, loaded: LoadedChunks) -> Problem:
    rest = f"POST /v1/jobs/{job.id}/retry does the rest."
    if reason == "requested":
        return Problem(code="canceled", detail=f"Canceled on request{_rows(job, loaded)}.", hint=rest)
    return Problem(
        code="deadline_exceeded",
        detail=f"The job had not ended at its deadline, {job.deadline_at:%Y-%m-%dT%H:%M:%SZ}{_rows(job, loaded)}.",
        hint=f"{rest} GET /v1/jobs/{job.id}/why shows where its messages wait.",
    )


def _rows(job: Job, loaded: LoadedChunks) -> str:
    """Says which rows stay, for a job that loads rows."""
    outcome = loaded.outcome
    if job.mode is None and not outcome.deleted:
        return ""
    if job.mode == "replace" and not outcome.inserted + outcome.updated + outcome.unchanged + outcome.deleted:
        return ": no row was replaced"
    rows = outcome.inserted + outcome.updated
    return f": {rows} rows were loaded and stay" if rows else ": no row was loaded"
