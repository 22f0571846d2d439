"""Inbox: ids of handled messages, which make the effect of a repeated delivery happen once."""

from collections.abc import Sequence
from uuid import UUID

from shared.contracts.message import Message
from shared.db import Connection

CLAIM_SECONDS = 900.0
RETENTION_DAYS = 8


async def claim(db: Connection, message: Message) -> bool:
    """Inserts the message's row and returns True; returns False if its effect is already committed.

    Waits while another transaction holds the same message: the row is a lease that ends with the transaction.
    """
    return bool(
        await db.fetchval(
            "INSERT INTO inbox (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
            message.id,
            message.name(),
            timeout=CLAIM_SECONDS,
        )
    )


async def delete_old(db: Connection) -> None:
    """Deletes rows older than RETENTION_DAYS: no broker redelivers after that, and sweepers read the state itself."""
    await db.execute("DELETE FROM inbox WHERE done_at < now() - $1 * interval '1 day'", RETENTION_DAYS)


async def select_done(db: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Returns the ids of those messages that are handled or given up."""
    return {row["id"] for row in await db.fetch("SELECT id FROM inbox WHERE id = ANY($1::uuid[])", list(ids))}
