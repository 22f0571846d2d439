"""What was heard and done: the row that makes an effect happen once."""

from collections.abc import Sequence
from uuid import UUID

from shared.contracts.message import Message
from shared.db import Connection

CLAIM_SECONDS = 900.0
KEPT_DAYS = 8


async def claim(db: Connection, message: Message) -> bool:
    """False if the message's effect is committed already.

    Waits while another transaction works on the same message: the row is the lease, and it ends with its transaction.
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
    """Nothing is delivered again after so long; sweepers look at the state itself."""
    await db.execute("DELETE FROM inbox WHERE done_at < now() - $1 * interval '1 day'", KEPT_DAYS)


async def select_done(db: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the messages whose fate is committed, for good or bad."""
    return {row["id"] for row in await db.fetch("SELECT id FROM inbox WHERE id = ANY($1::uuid[])", list(ids))}
