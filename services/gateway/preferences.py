"""What a client prefers (RFC 7240): here, how long it will wait for a job to end."""

import asyncio
import contextlib
import re
import time
from uuid import UUID

from services.gateway import queries
from services.gateway.job import Job
from services.gateway.problems import not_found
from shared.db import Pool

LONGEST_SECONDS = 60
WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
FIRST_LOOK, LAST_LOOK = 0.02, 0.5


def wait_seconds(prefer: str | None) -> int | None:
    """Of `Prefer: wait=N`; unknown preferences are ignored, as the RFC asks."""
    match = WAIT.search(prefer or "")
    return min(int(match[1]), LONGEST_SECONDS) if match else None


def applied(seconds: int | None, job: Job) -> dict[str, str]:
    """The header that says the preference was met."""
    return {"Preference-Applied": f"wait={seconds}"} if seconds is not None and job.ended else {}


async def wait(pool: Pool, stopping: asyncio.Event, job_id: UUID, seconds: int | None) -> Job:
    """The job once it has ended, or as it is after so many seconds. Raises Problem 404; holds no connection."""
    until = time.monotonic() + (seconds or 0)
    pause = FIRST_LOOK
    while True:
        async with pool.acquire() as db:
            job = await queries.select_job(db, job_id)
        if job is None:
            raise not_found("job", str(job_id))
        left = until - time.monotonic()
        if job.ended or left <= 0 or stopping.is_set():
            return job
        await pass_time(stopping, min(pause, left))
        pause = min(pause * 1.5, LAST_LOOK)


async def pass_time(stopping: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not through the end of the process."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
