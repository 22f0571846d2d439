"""Messages that a transaction decided to send, kept in Postgres until the broker has confirmed them."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import msgspec

from shared.contracts.message import Command, Message
from shared.db import Connection


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the outbox. `queue` is empty for a message that goes to whoever listens."""

    id: UUID
    queue: str
    name: str
    dataset: str
    subject: str
    command: bool
    mandatory: bool
    attempt: int
    data: bytes
    created_at: dt.datetime


COLUMNS = ", ".join(OutboxMessage.__struct_fields__)


async def insert_messages(db: Connection, messages: Sequence[Message], *, queue: str = "") -> None:
    """In one statement; a message that waits already is not added twice."""
    if not messages:
        return
    await db.execute(
        """
        INSERT INTO outbox (id, queue, name, dataset, subject, command, mandatory, data)
        SELECT id, $2, name, dataset, subject, command, mandatory, data
        FROM unnest($1::uuid[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::bool[], $8::bytea[])
             AS m (id, name, dataset, subject, command, mandatory, data)
        ON CONFLICT (id, queue) DO NOTHING
        """,
        [message.id for message in messages],
        queue,
        [message.name() for message in messages],
        [message.dataset for message in messages],
        [str(getattr(message, "job_id", "")) for message in messages],
        [isinstance(message, Command) for message in messages],
        [message.mandatory for message in messages],
        [message.encode() for message in messages],
    )


async def insert_retry(db: Connection, message: Message, *, queue: str, attempt: int, seconds: float) -> None:
    """The same message again, to this queue alone, due in `seconds`. A copy of it never takes attempts back."""
    await db.execute(
        """
        INSERT INTO outbox (id, queue, name, dataset, subject, command, mandatory, attempt, data, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8, now() + $9 * interval '1 second')
        ON CONFLICT (id, queue) DO UPDATE
        SET attempt = greatest(outbox.attempt, excluded.attempt), due_at = excluded.due_at
        """,
        message.id,
        queue,
        message.name(),
        message.dataset,
        str(getattr(message, "job_id", "")),
        isinstance(message, Command),
        attempt,
        message.encode(),
        seconds,
    )


async def select_due(db: Connection, limit: int) -> list[OutboxMessage]:
    """Due letters, locked against other relays until the transaction ends; by state, never by a cursor."""
    rows = await db.fetch(
        f"SELECT {COLUMNS} FROM outbox WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED", limit
    )
    return [OutboxMessage(**row) for row in rows]


async def delete_sent(db: Connection, letters: Sequence[OutboxMessage]) -> None:
    """Confirmed by the broker."""
    await db.execute(
        "DELETE FROM outbox USING unnest($1::uuid[], $2::text[]) AS sent (id, queue)"
        " WHERE outbox.id = sent.id AND outbox.queue = sent.queue",
        [letter.id for letter in letters],
        [letter.queue for letter in letters],
    )


async def postpone(db: Connection, letters: Sequence[OutboxMessage], *, seconds: float) -> None:
    """Not taken by any queue for now."""
    await db.execute(
        "UPDATE outbox SET due_at = now() + $3 * interval '1 second' FROM unnest($1::uuid[], $2::text[])"
        " AS kept (id, queue) WHERE outbox.id = kept.id AND outbox.queue = kept.queue",
        [letter.id for letter in letters],
        [letter.queue for letter in letters],
        seconds,
    )


async def select_backlog(db: Connection) -> tuple[int, float]:
    """How many letters wait, and for how many seconds the oldest has been due."""
    row = await db.fetchrow(
        "SELECT count(*), coalesce(greatest(0, extract(epoch FROM now() - min(due_at))), 0)::float8 FROM outbox"
    )
    return (row[0], row[1]) if row else (0, 0.0)
