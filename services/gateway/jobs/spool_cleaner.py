"""Deletes spooled files that no job needs."""

import asyncio
import datetime as dt
import time

from services.gateway.jobs import kinds
from shared.db import Connection, Pool
from shared.spool import Spool

EVERY_SECONDS = 60.0
KEEP_SECONDS = 3600.0
RETRIED_WITHIN = dt.timedelta(days=3)
"""How long the file of a failed or canceled job is kept for a retry."""


class SpoolCleaner:
    """Deletes files of finished jobs, and of uploads that a crash interrupted, when they are an hour old."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def run(self, pool: Pool) -> int:
        """Deletes files; writes no messages."""
        files = await asyncio.to_thread(lambda: list(self._spool.files()))
        old = [name for name, changed in files if time.time() - changed > KEEP_SECONDS]
        if old:
            async with pool.acquire() as db:
                needed = await select_needed_files(db, old)
            for name in set(old) - needed:
                self._spool.delete(name)
        return 0


async def select_needed_files(db: Connection, files: list[str]) -> set[str]:
    """Selects the spooled files that a job may still read: if it is unfinished, or of the last hour, or may be retried.

    Looks only at kinds of job whose command has a file, as others may have large commands.
    """
    rows = await db.fetch(
        """
        SELECT file FROM (
            SELECT command->>'file' AS file FROM jobs WHERE finished_at IS NULL AND kind = ANY($2::text[])
            UNION ALL
            SELECT command->>'file' FROM jobs
            WHERE finished_at > now() - $3::interval AND kind = ANY($2::text[])
              AND (status IN ('failed', 'canceled') OR finished_at > now() - interval '1 hour')
        ) f
        WHERE file = ANY($1::text[])
        """,
        files,
        [kind.name for kind in kinds.registered() if "file" in kind.command.__struct_fields__],
        RETRIED_WITHIN,
    )
    return {row["file"] for row in rows}
