"""Transactional outbox: messages that a transaction writes, kept in Postgres until the broker confirms them."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import msgspec

from shared.contracts.message import Command, Message
from shared.db import Connection


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the outbox. `queue` is empty for a message that is routed by its name."""

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
    """Inserts messages in one statement, and skips those that already wait."""
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
    """Inserts the message again for this queue only, due in `seconds`. The attempt counter never decreases."""
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
    """Returns the messages that are due, locked against other relays until the transaction ends."""
    rows = await db.fetch(
        f"SELECT {COLUMNS} FROM outbox WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED", limit
    )
    return [OutboxMessage(**row) for row in rows]


async def delete_sent(db: Connection, messages: Sequence[OutboxMessage]) -> None:
    """Deletes messages that the broker has confirmed."""
    await db.execute(
        "DELETE FROM outbox USING unnest($1::uuid[], $2::text[]) AS sent (id, queue)"
        " WHERE outbox.id = sent.id AND outbox.queue = sent.queue",
        [message.id for message in messages],
        [message.queue for message in messages],
    )


async def postpone(db: Connection, messages: Sequence[OutboxMessage], *, seconds: float) -> None:
    """Makes messages due in `seconds`."""
    await db.execute(
        "UPDATE outbox SET due_at = now() + $3 * interval '1 second' FROM unnest($1::uuid[], $2::text[])"
        " AS kept (id, queue) WHERE outbox.id = kept.id AND outbox.queue = kept.queue",
        [message.id for message in messages],
        [message.queue for message in messages],
        seconds,
    )


async def select_backlog(db: Connection) -> tuple[int, float]:
    """Returns the number of waiting messages, and for how many seconds the oldest has been due."""
    row = await db.fetchrow(
        "SELECT count(*), coalesce(greatest(0, extract(epoch FROM now() - min(due_at))), 0)::float8 FROM outbox"
    )
    return (row[0], row[1]) if row else (0, 0.0)
