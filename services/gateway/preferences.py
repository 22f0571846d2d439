"""What a client prefers (RFC 7240): how long it will wait, for a job to end or for a version to be reached."""

import asyncio
import contextlib
import datetime as dt
import re
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from services.gateway import queries
from services.gateway.accepting import Accepted
from services.gateway.answers import Answer
from services.gateway.job import Job, JobBody, to_body
from services.gateway.problems import Problem, not_found
from shared.db import Pool

LONGEST_SECONDS = 60
WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
STRICT = re.compile(r"(?:^|[,;\s])handling\s*=\s*\"?strict\b", re.IGNORECASE)
FIRST_LOOK, LAST_LOOK = 0.01, 0.25
FIRST_VERSION_LOOK, LAST_VERSION_LOOK = 0.005, 0.1
RETRY_SECONDS = 1


def wait_seconds(prefer: str | None) -> int | None:
    """Of `Prefer: wait=N`; unknown preferences are ignored, as the RFC asks."""
    match = WAIT.search(prefer or "")
    return min(int(match[1]), LONGEST_SECONDS) if match else None


def is_strict(prefer: str | None) -> bool:
    """Of `Prefer: handling=strict`; lenient is how it is otherwise."""
    return STRICT.search(prefer or "") is not None


def applied(seconds: int | None, job: Job) -> dict[str, str]:
    """The header that says the preference was met."""
    return {"Preference-Applied": f"wait={seconds}"} if seconds is not None and job.ended else {}


async def wait(pool: Pool, stopping: asyncio.Event, job_id: UUID, seconds: int | None) -> tuple[Job, dt.datetime]:
    """The job once it has ended, or as it is after so many seconds, and Postgres' time then. Raises Problem 404."""
    until = time.monotonic() + (seconds or 0)
    pause = FIRST_LOOK
    while True:
        async with pool.acquire() as db:
            found = await queries.select_job(db, job_id)
        if found is None:
            raise not_found("job", str(job_id))
        job, now = found
        left = until - time.monotonic()
        if job.ended or left <= 0 or stopping.is_set():
            return job, now
        await pass_time(stopping, min(pause, left))
        pause = min(pause * 1.2, LAST_LOOK)


async def reaches(stopping: asyncio.Event, seconds: float, version: int, look: Callable[[], Awaitable[int]]) -> bool:
    """Whether what `look` tells is at this version, within so many seconds."""
    until, pause = time.monotonic() + seconds, FIRST_VERSION_LOOK
    while True:
        reached = await look() >= version
        left = until - time.monotonic()
        if reached or left <= 0 or stopping.is_set():
            return reached
        await pass_time(stopping, min(pause, left))
        pause = min(pause * 1.3, LAST_VERSION_LOOK)


def stale(detail: str) -> Problem:
    """For those who want nothing rather than what is older."""
    hint = "Ask again in a moment, wait longer with Prefer: wait=N, or without handling=strict."
    return Problem(503, "stale", detail, hint=hint, headers={"Retry-After": "1"})


async def accepted(pool: Pool, stopping: asyncio.Event, one: Accepted, prefer: str | None) -> Answer[JobBody]:
    """202 for a job under way, 200 for one that has ended while the client waited; where to look, and when again."""
    seconds = wait_seconds(prefer)
    job, now = one.job, one.job.created_at
    if seconds is not None or one.replayed or one.attached:
        job, now = await wait(pool, stopping, job.id, seconds)
    headers = {"Location": f"/v1/jobs/{job.id}", **applied(seconds, job)}
    if one.replayed:
        headers["Idempotency-Replayed"] = "true"
    if one.attached:
        headers["Millrace-Attached"] = "true"
    if job.ended:
        return Answer(to_body(job, now), status_code=200, headers=headers)
    return Answer(to_body(job, now), status_code=202, headers={**headers, "Retry-After": str(RETRY_SECONDS)})


async def pass_time(stopping: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not through the end of the process."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
