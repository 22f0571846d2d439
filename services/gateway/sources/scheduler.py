"""Scheduler: fires due ticks. All gateways poll every second; row locks in Postgres decide which one fires a tick."""

import structlog

from services.gateway.jobs.submit import Submission, submit_jobs, uuid7
from services.gateway.sources import schedules, syncs
from services.gateway.sources.schedules import SourceSchedule, Tick, TickFate
from shared.contracts.commands import PullPage
from shared.db import Connection, Pool, transaction
from shared.telemetry import metrics

EVERY_SECONDS = 1.0
log = structlog.get_logger()


async def run(pool: Pool) -> int:
    """Updates the schedules from the declarations and fires due ticks; returns the number of jobs started."""
    async with transaction(pool) as db:
        await schedules.apply_declarations(db)
    async with pool.acquire() as db:
        due = await schedules.select_due(db)
        for fate, count in (await schedules.count_ticks(db)).items():
            metrics.TICKS.labels(fate).set(count)
    started = 0
    for dataset, source in due:
        try:
            async with transaction(pool) as db:
                started += await fire(db, dataset, source)
        except Exception as error:  # one schedule must not block the others
            log.warning("tick postponed", dataset=dataset, source=source, error=repr(error), exc_info=error)
    return started


async def fire(db: Connection, dataset: str, source: str) -> bool:
    """Fires the due ticks of a schedule, unless another gateway does; returns whether a job started.

    The ticks, the job, its command and the time of the next tick commit together, so a crash before the commit leaves
    the ticks to another gateway, and after it none are due.
    """
    locked = await schedules.lock_due(db, dataset, source)
    if locked is None:
        return False
    entry, now = locked
    due = schedules.find_due_ticks(entry.schedule, entry.next_at, now)
    inserted = await schedules.insert_ticks(db, entry, [*due.earlier, due.last])
    fate: TickFate = "missed"
    if due.runs and due.last in inserted:
        accepted = await _submit_sync(db, entry)
        fate = "skipped" if accepted.attached else "ran"
        await schedules.update_tick(db, entry, Tick(due.last, fate, accepted.job.id))
    await schedules.update_next_at(db, entry, due.next_at)
    log.info("tick", dataset=dataset, source=source, due_at=due.last.isoformat(), fate=fate, missed=len(due.earlier))
    return fate == "ran"


async def _submit_sync(db: Connection, entry: SourceSchedule) -> Submission:
    """Returns the new job, or the running one that the tick is skipped for."""
    command = PullPage(dataset=entry.dataset, job_id=uuid7(), source=entry.source, chunk=1)
    mode = await syncs.select_mode(db, entry.dataset)
    overlap = entry.schedule.overlap == "allow"
    request = syncs.sync_request(command, mode, api_key=None, idempotency_key=None, overlap=overlap)
    (accepted,) = await submit_jobs(db, [request])
    if isinstance(accepted, Submission):
        return accepted
    raise accepted
