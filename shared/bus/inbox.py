"""Inbox: ids of messages that have ended here, done or given up, which make the effect of a delivery happen once."""

from uuid import UUID

from shared.db import Connection

CLAIM_SECONDS = 900.0


async def claim(db: Connection, message_id: UUID, name: str) -> bool:
    """Inserts the message's row and returns True; returns False if it has ended already.

    Waits while another transaction holds the same message: the row is a lease that ends with the transaction.
    """
    return bool(
        await db.fetchval(
            "INSERT INTO inbox (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
            message_id,
            name,
            timeout=CLAIM_SECONDS,
        )
    )
