"""Cancellation: stops the commands of canceled jobs, those that run here and those that wait anywhere."""

from collections.abc import Sequence

import structlog

from shared.bus import shelf
from shared.bus.handling import Handling
from shared.db import Pool, transaction
from shared.reads.gateway import select_canceled_jobs

POLL_SECONDS = 0.25
LOCK_MILLISECONDS = 2000
"""Another process may have to stop the same message first: try again at the next poll."""
log = structlog.get_logger()


class Cancellation:
    """Watches which jobs are being canceled, in one process of a service."""

    def __init__(self, service: str, handlings: Sequence[Handling]) -> None:
        self._service = service
        self._handlings = handlings

    async def run(self, pool: Pool) -> int:
        """Interrupts running handlers first, so that shelving need not wait for them. Sends nothing and returns 0."""
        async with pool.acquire() as db:
            job_ids = await select_canceled_jobs(db)
        if not job_ids:
            return 0
        for handling in self._handlings:
            handling.commands.interrupt(job_ids)
        async with transaction(pool) as db:
            await db.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            shelved = await shelf.shelve(db, self._service, job_ids)
        if shelved:
            log.info("shelved", jobs=[str(job_id) for job_id in job_ids], messages=shelved)
        return 0
