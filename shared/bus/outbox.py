"""Transactional outbox: the messages of a service, from the transaction that writes them until all receivers end them.

A message with receivers stays after the broker has confirmed it: see `ledger`. Others are deleted once they are sent.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from shared.contracts.message import Command, Message
from shared.contracts.parts import Problem
from shared.db import Connection


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the outbox. `queue` is empty for a message that is routed by its name. `sent_at` is this publication."""

    id: UUID
    queue: str
    name: str
    dataset: str
    lane: str = ""
    audience: str = ""
    subject: str
    command: bool
    mandatory: bool
    attempt: int
    data: bytes
    created_at: dt.datetime
    sent_at: dt.datetime


COLUMNS = ", ".join(OutboxMessage.__struct_fields__[:-1])


async def insert_messages(db: Connection, messages: Sequence[Message]) -> None:
    """Inserts messages in one statement, and skips those that are open already."""
    if not messages:
        return
    await db.execute(
        """
        INSERT INTO outbox (id, name, dataset, subject, command, mandatory, receivers, data, lane, audience)
        SELECT id, name, dataset, subject, command, receivers <> '', string_to_array(receivers, ','), data, lane,
               audience
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::text[], $7::bytea[], $8::text[],
                    $9::text[])
             AS m (id, name, dataset, subject, command, receivers, data, lane, audience)
        ON CONFLICT (id, queue) DO NOTHING
        """,
        [message.id for message in messages],
        [message.name() for message in messages],
        [message.dataset for message in messages],
        [str(getattr(message, "job_id", None) or "") for message in messages],
        [isinstance(message, Command) for message in messages],
        [",".join(message.to) for message in messages],
        [message.encode() for message in messages],
        [message.lane for message in messages],
        [message.audience for message in messages],
    )


async def insert_retry(
    db: Connection,
    message: Message,
    *,
    queue: str,
    attempt: int,
    seconds: float,
    created_at: dt.datetime,
    problem: Problem | None,
) -> None:
    """Inserts the message again for this queue only, due in `seconds`. The attempt counter never decreases."""
    await db.execute(
        """
        INSERT INTO outbox
               (id, queue, name, dataset, subject, command, mandatory, attempt, data, created_at, due_at, problem)
        VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8, $9, now() + $10 * interval '1 second', $11)
        ON CONFLICT (id, queue) DO UPDATE
        SET attempt = greatest(outbox.attempt, excluded.attempt), due_at = excluded.due_at, sent_at = NULL,
            problem = excluded.problem
        """,
        message.id,
        queue,
        message.name(),
        message.dataset,
        str(getattr(message, "job_id", None) or ""),
        isinstance(message, Command),
        attempt,
        message.encode(),
        created_at,
        seconds,
        msgspec.to_builtins(problem),
    )


async def select_due(db: Connection, limit: int, max_bytes: int) -> list[OutboxMessage]:
    """Returns messages that are due, locked against other relays until the transaction ends.

    Stops after the message with which their data reach `max_bytes`.
    """
    rows = await db.fetch(
        f"""
        WITH due AS (
            SELECT ctid AS place, due_at, octet_length(data) AS bytes FROM outbox
            WHERE sent_at IS NULL AND due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ), summed AS (
            SELECT place, sum(bytes) OVER (ORDER BY due_at, place) - bytes AS bytes_before FROM due
        )
        SELECT {COLUMNS}, now() AS sent_at FROM outbox
        WHERE ctid = ANY(ARRAY(SELECT place FROM summed WHERE bytes_before < $2)) ORDER BY due_at
        """,
        limit,
        max_bytes,
    )
    return [OutboxMessage(**row) for row in rows]


async def record_sent(db: Connection, messages: Sequence[OutboxMessage]) -> None:
    """Records that the broker has confirmed the messages; deletes those that no receiver has to end."""
    await db.execute(
        """
        WITH sent AS (SELECT * FROM unnest($1::uuid[], $2::text[]) AS s (id, queue)), gone AS (
            DELETE FROM outbox o USING sent s WHERE (o.id, o.queue) = (s.id, s.queue) AND o.receivers = '{}'
            RETURNING o.id, o.queue
        ), again AS (
            INSERT INTO resent (id) SELECT id FROM gone WHERE queue <> ''
            ON CONFLICT (id) DO UPDATE SET resent_at = now()
        )
        UPDATE outbox o SET sent_at = now() FROM sent s WHERE (o.id, o.queue) = (s.id, s.queue) AND o.receivers <> '{}'
        """,
        [message.id for message in messages],
        [message.queue for message in messages],
    )


async def postpone(db: Connection, pauses: Mapping[tuple[UUID, str], float]) -> None:
    """Makes messages, by id and queue, due in so many seconds."""
    await db.execute(
        "UPDATE outbox o SET due_at = now() + k.seconds * interval '1 second'"
        " FROM unnest($1::uuid[], $2::text[], $3::float8[]) AS k (id, queue, seconds)"
        " WHERE o.id = k.id AND o.queue = k.queue",
        [message_id for message_id, _ in pauses],
        [queue for _, queue in pauses],
        list(pauses.values()),
    )


async def delete_message(db: Connection, message: OutboxMessage) -> None:
    """Deletes the message: it will not be sent."""
    await db.execute("DELETE FROM outbox WHERE id = $1 AND queue = $2", message.id, message.queue)


async def select_backlog(db: Connection) -> tuple[int, float]:
    """Returns the number of messages to send, and for how many seconds the oldest has been due."""
    row = await db.fetchrow(
        "SELECT count(*), coalesce(greatest(0, extract(epoch FROM now() - min(due_at))), 0)::float8"
        " FROM outbox WHERE sent_at IS NULL"
    )
    return (row[0], row[1]) if row else (0, 0.0)
