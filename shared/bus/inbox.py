"""Inbox: ids of messages that have ended here, done or given up, which make the effect of a delivery happen once."""

from collections.abc import Collection
from uuid import UUID

from shared.db import Connection

CLAIM_SECONDS = 900.0


async def claim(db: Connection, message_id: UUID, name: str) -> bool:
    """Inserts the message's row and returns True; returns False if it has ended already."""
    return bool(await claim_together(db, [message_id], name))


async def claim_together(db: Connection, message_ids: Collection[UUID], name: str) -> set[UUID]:
    """Inserts the messages' rows and returns the ids of those that have not ended already.

    Waits while another transaction holds one of them: the row is a lease that ends with the transaction. Two
    transactions claim in the same order, so that they cannot wait for each other.
    """
    rows = await db.fetch(
        "INSERT INTO inbox (id, name) SELECT id, $2 FROM unnest($1::uuid[]) AS m (id) ORDER BY id"
        " ON CONFLICT DO NOTHING RETURNING id",
        message_ids,
        name,
        timeout=CLAIM_SECONDS,
    )
    return {row["id"] for row in rows}
