"""POST /v1/jobs/{id}/retry: runs a failed or canceled job again, from where it was."""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

import msgspec
from litestar import post

from services.gateway.http import preferences
from services.gateway.http.parameters import Deadline, Prefer
from services.gateway.http.problems import Problem, not_found, parse_job_id, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import event_log, exclusive, follow, kinds, progress, queries
from services.gateway.jobs.advice import STOPPED
from services.gateway.jobs.announcements import JobEvents, to_event
from services.gateway.jobs.job import Job, JobBody
from services.gateway.jobs.respond import answer, applied_preference, job_responses
from services.gateway.jobs.submit import uuid7
from services.gateway.jobs.waiters import JobWaiters
from shared.bus import open_messages, outbox
from shared.bus.relay import Relay
from shared.contracts.dead_letter_events import RedriveRequested
from shared.contracts.events import JobRetried
from shared.db import Connection, Pool, transaction
from shared.reads.ingestor import imports

RETRIED = ("failed", "canceled")


@post(
    "/v1/jobs/{job:str}/retry",
    tags=["jobs"],
    summary="Retry a failed or canceled job",
    description="Runs the job again from where it was: what is loaded stays, and only what was given up or canceled is"
    " done. The job is `running` again, with a new deadline, and its events continue with `job.retried`. A job that"
    " failed because of its input is not retried: 409 `nothing_to_retry`.",
    opt={"scope": "write"},
    status_code=202,
    responses={**responses(404, 409, 422), **job_responses(JobBody)},
)
async def retry_job(
    pool: Pool, relay: Relay, waiters: JobWaiters, job: str, prefer: Prefer = None, deadline: Deadline = None
) -> Answer[JobBody]:
    """Reopens the job and redrives its dead letters, in one transaction."""
    job_id = parse_job_id(job)
    async with transaction(pool) as db:
        found = await queries.lock_job(db, job_id)
        if found is None:
            raise not_found("job", job)
        current, _ = found
        _, dead = await open_messages.select_dead_letters(db, job_id)
        letters = [letter for letter in dead if letter.redrivable]
        await _check(db, current, dead=len(letters))
        events = await reopen(db, [job_id], seconds=deadline)
        redrive = RedriveRequested(
            dataset=current.dataset, request_id=uuid7(), ids=tuple(letter.id for letter in letters)
        )
        await outbox.insert_messages(db, [*events, *([redrive] if letters else [])])
    relay.wake()
    seconds = preferences.wait_seconds(prefer)
    ended = await waiters.wait(job_id, seconds or 0)
    return answer(ended, applied_preference(seconds, ended))


async def reopen(db: Connection, job_ids: Iterable[UUID], *, seconds: int | None = None) -> JobEvents:
    """Makes failed and canceled jobs run again, in their next run, and returns their events.

    Call it in the transaction that redrives their dead letters. Skips the jobs that have not failed, that a retry can't
    help, or whose target another job works on.
    """
    events: JobEvents = []
    for job_id in sorted(job_ids):
        found = await queries.lock_job(db, job_id)
        if found is not None and await _select_obstacle(db, found[0]) is None:
            events += await _reopen(db, *found, seconds)
    return events


async def _reopen(db: Connection, job: Job, now: dt.datetime, seconds: int | None) -> JobEvents:
    kind = kinds.find(job.kind)
    current = progress.reopen(
        job, now, phase=kind.phase, seconds=kind.deadline.total_seconds() if seconds is None else seconds
    )
    current = msgspec.structs.replace(current, sequence=job.sequence + 1, announced_at=now)
    await queries.update_jobs(db, [current])
    retried = to_event(JobRetried, current, now)
    await event_log.insert_events(db, [retried])
    # Events that arrived after the end of the job may complete it.
    return [retried, *(await follow.advance(db, current, current, now) if job.chunks is not None else [])]


async def _check(db: Connection, job: Job, *, dead: int) -> None:
    """Raises Problem 409 unless the job can be retried."""
    obstacle = await _select_obstacle(db, job)
    if obstacle is None and (dead or (job.error is not None and job.error.code in STOPPED)):
        return
    raise obstacle or _nothing_to_retry(job)


async def _select_obstacle(db: Connection, job: Job) -> Problem | None:
    """Returns why the job can't run again."""
    if job.status not in RETRIED:
        return _nothing_to_retry(job)
    if await imports.select_stopped(db, [job.id]):
        return _nothing_to_retry(job)
    if job.target is None:
        return None
    running = await exclusive.select_running_on(db, job.kind, job.dataset, job.target)
    if running is None:
        return None
    detail = f"Job {running} works on the same {kinds.find(job.kind).exclusive}, {job.target}."
    return Problem(409, "target_busy", detail, hint="Retry when it has ended, if that is still needed.")


def _nothing_to_retry(job: Job) -> Problem:
    if job.status not in RETRIED:
        detail = f"Job {job.id} is {job.status}."
        hint = "Replay its failed rows: POST …/replay." if job.status == "partial" else ""
    else:
        reason = f": {job.error.detail}" if job.error else "."
        detail = f"Nothing of job {job.id} can be done again. It failed for a reason that a retry can't mend{reason}"
        hint = (job.error.hint if job.error else "") or "Fix the cause, then submit the work as a new job."
    return Problem(409, "nothing_to_retry", detail, hint=hint)
