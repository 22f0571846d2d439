"""Queries about what jobs leave behind: spooled files and idempotency keys."""

import datetime as dt

from shared.db import Connection

RETRIED_WITHIN = dt.timedelta(days=3)
"""How long the file of a failed or canceled job is kept for a retry."""


async def select_needed_files(db: Connection, files: list[str]) -> set[str]:
    """Selects the spooled files that a job may still read. One that failed or was canceled may be retried."""
    rows = await db.fetch(
        """
        SELECT command->>'file' AS file FROM jobs
        WHERE command->>'file' = ANY($1::text[]) AND (finished_at IS NULL OR finished_at > now() -
              CASE WHEN status IN ('failed', 'canceled') THEN $2 ELSE interval '1 hour' END)
        """,
        files,
        RETRIED_WITHIN,
    )
    return {row["file"] for row in rows}


async def forget_idempotency_keys(db: Connection) -> None:
    """Deletes idempotency keys older than a day."""
    await db.execute(
        "UPDATE jobs SET idempotency_key = NULL"
        " WHERE idempotency_key IS NOT NULL AND created_at < now() - interval '24 hours'"
    )
    await db.execute("DELETE FROM attached WHERE attached_at < now() - interval '24 hours'")
