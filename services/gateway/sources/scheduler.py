"""Fires the schedules. Every gateway looks each second; Postgres' locks decide which of them fires a tick."""

import structlog

from services.gateway.jobs.submit import Submission, submit_jobs, uuid7
from services.gateway.sources import schedules, syncs
from services.gateway.sources.schedules import Fate, Scheduled, Tick
from shared.contracts.commands import PullPage
from shared.db import Connection, Pool, transaction
from shared.telemetry import metrics

EVERY_SECONDS = 1.0
log = structlog.get_logger()


async def run(pool: Pool) -> int:
    """Keeps the schedules in step with the declarations and fires what is due; returns how many jobs began."""
    async with transaction(pool) as db:
        await schedules.keep_in_step(db)
    async with pool.acquire() as db:
        due = await schedules.select_due(db)
        for fate, count in (await schedules.select_fates(db)).items():
            metrics.TICKS.labels(fate).set(count)
    began = 0
    for dataset, source in due:
        try:
            async with transaction(pool) as db:
                began += await fire(db, dataset, source)
        except Exception as error:  # one schedule must not keep the others from being fired
            log.warning("tick waits", dataset=dataset, source=source, error=repr(error), exc_info=error)
    return began


async def fire(db: Connection, dataset: str, source: str) -> bool:
    """Decides the ticks of a schedule that have come, unless another gateway does; returns whether a job began.

    The ticks, the job with its command and the time of the next tick commit together: whoever dies before has done
    nothing, whoever comes after finds nothing to do.
    """
    found = await schedules.lock_due(db, dataset, source)
    if found is None:
        return False
    one, now = found
    due = schedules.decide(one.schedule, one.next_at, now)
    fresh = await schedules.insert_missed(db, one, [*due.before, due.last])
    fate: Fate = "missed"
    if due.runs and due.last in fresh:
        accepted = await _sync(db, one)
        fate = "skipped" if accepted.attached else "ran"
        await schedules.update_tick(db, one, Tick(due.last, fate, accepted.job.id))
    await schedules.update_next(db, one, due.next_at)
    log.info("tick", dataset=dataset, source=source, due_at=due.last.isoformat(), fate=fate, missed=len(due.before))
    return fate == "ran"


async def _sync(db: Connection, one: Scheduled) -> Submission:
    """The job that the tick begins, or the one that is in its way."""
    command = PullPage(dataset=one.dataset, job_id=uuid7(), source=one.source, chunk=1)
    mode = await syncs.select_mode(db, one.dataset)
    overlap = one.schedule.overlap == "allow"
    request = syncs.sync_request(command, mode, api_key=None, idempotency_key=None, overlap=overlap)
    (accepted,) = await submit_jobs(db, [request])
    if isinstance(accepted, Submission):
        return accepted
    raise accepted
