"""Queries about discarding failed rows."""

from uuid import UUID

from shared.db import Connection


async def count_discarded(db: Connection, message_id: UUID, request_id: UUID) -> int | None:
    """Returns the number of rows that a request discarded; None until the ingestor has handled the request."""
    row = await db.fetchrow(
        """
        SELECT (SELECT true FROM ingestor.inbox WHERE id = $1) AS handled,
               (SELECT count(*) FROM ingestor.failed_rows WHERE resolved_by = $2) AS discarded
        """,
        message_id,
        request_id,
    )
    return row["discarded"] if row and row["handled"] else None
