"""Queries about what jobs leave behind: spooled files and idempotency keys."""

from shared.db import Connection


async def select_needed_files(db: Connection, files: list[str]) -> set[str]:
    """Selects the spooled files that a job may still read."""
    rows = await db.fetch(
        """
        SELECT command->>'file' AS file FROM jobs
        WHERE command->>'file' = ANY($1::text[]) AND (finished_at IS NULL OR finished_at > now() - interval '1 hour')
        """,
        files,
    )
    return {row["file"] for row in rows}


async def forget_idempotency_keys(db: Connection) -> None:
    """Deletes idempotency keys older than a day."""
    await db.execute(
        "UPDATE jobs SET idempotency_key = NULL"
        " WHERE idempotency_key IS NOT NULL AND created_at < now() - interval '24 hours'"
    )
    await db.execute("DELETE FROM attached WHERE attached_at < now() - interval '24 hours'")
