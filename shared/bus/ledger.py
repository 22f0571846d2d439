"""The ledger: a sent message is open until each receiver has ended it. Queries over the outboxes and inboxes.

Each service may read these tables of every service, and writes only its own.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from shared.db import Connection
from shared.db.faults import LOCK_TIMEOUT
from shared.db.migrate import READABLE_SERVICES

SERVICES = tuple(READABLE_SERVICES)
LEASE_MILLISECONDS = 50
Lane = tuple[str, str]
"""Name and lane of the messages in one queue of a service."""
RECOVERY_LOCK = 0x7265636F
CLEANUP_LOCK = 0x636C6561


class OpenMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was sent to a service and that it has not ended."""

    id: UUID
    name: str
    dataset: str
    lane: str
    subject: str
    command: bool
    data: bytes
    created_at: dt.datetime


def outboxes(service: str) -> str:
    """Returns a table expression: the outboxes of all services, read by this one."""
    tables = ["outbox", *(f"{sender}.outbox" for sender in SERVICES if sender != service)]
    return "(" + " UNION ALL ".join(f"SELECT * FROM {table}" for table in tables) + ")"


def of_all_services(table: str, columns: str = "*", where: str = "true") -> str:
    """Returns a table expression: the rows of a ledger table of every service, whose name is in `service`."""
    selects = (f"SELECT '{name}'::text AS service, {columns} FROM {name}.{table} WHERE {where}" for name in SERVICES)
    return "(" + " UNION ALL ".join(selects) + ")"


async def select_waiting(db: Connection, service: str, lanes: Sequence[Lane], *, seconds: float) -> list[Lane]:
    """Returns those of these lanes of which a message that was sent over `seconds` ago is open."""
    rows = await db.fetch(
        f"""
        SELECT DISTINCT name, lane
        FROM {outboxes(service)} o JOIN unnest($1::text[], $2::text[]) AS n (name, lane) USING (name, lane)
        WHERE o.sent_at < now() - $3 * interval '1 second' AND o.receivers @> ARRAY[$4]
          AND NOT EXISTS (SELECT FROM inbox i WHERE i.id = o.id)
        """,
        [name for name, _ in lanes],
        [lane for _, lane in lanes],
        seconds,
        service,
    )
    return [(row["name"], row["lane"]) for row in rows]


async def select_overtaken(
    db: Connection, service: str, passed: Mapping[Lane, dt.datetime], *, limit: int
) -> list[OpenMessage]:
    """Returns open messages to the service that were sent, also again, before the time of their lane in `passed`.

    Leaves out those that wait for a retry.
    """
    rows = await db.fetch(
        f"""
        SELECT {", ".join(f"o.{name}" for name in OpenMessage.__struct_fields__)}
        FROM {outboxes(service)} o
        JOIN unnest($1::text[], $5::text[], $2::timestamptz[]) AS p (name, lane, at) USING (name, lane)
        LEFT JOIN resent r ON r.id = o.id
        WHERE o.sent_at < (SELECT max(at) FROM unnest($2::timestamptz[]) AS t (at))
          AND greatest(o.sent_at, r.resent_at) < p.at AND o.receivers @> ARRAY[$3]
          AND NOT EXISTS (SELECT FROM inbox i WHERE i.id = o.id)
          AND NOT EXISTS (SELECT FROM outbox w WHERE w.id = o.id AND w.queue <> '' AND w.sent_at IS NULL)
        ORDER BY o.sent_at LIMIT $4
        """,
        [name for name, _ in passed],
        list(passed.values()),
        service,
        limit,
        [lane for _, lane in passed],
    )
    return [OpenMessage(**row) for row in rows]


async def is_leased(db: Connection, message: OpenMessage) -> bool:
    """Returns whether a transaction holds the message: it is being handled, or has ended just now."""
    attempt = db.transaction()
    await attempt.start()
    try:
        await db.execute(f"SET LOCAL lock_timeout = {LEASE_MILLISECONDS}")
        return not await db.fetchval(
            "INSERT INTO inbox (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
            message.id,
            message.name,
        )
    except LOCK_TIMEOUT:
        return True
    finally:
        await attempt.rollback()


async def has_ended(db: Connection, service: str, message_id: UUID) -> bool:
    """Returns whether the service has ended the message."""
    return bool(await db.fetchval(f"SELECT EXISTS (SELECT FROM {service}.inbox WHERE id = $1)", message_id))


async def is_known(db: Connection, message_id: UUID, *, reader: str, receiver: str) -> bool:
    """Returns whether the message was sent to `receiver`, or has ended there; `reader` is the service that looks."""
    inbox = "inbox" if receiver == reader else f"{receiver}.inbox"
    return bool(
        await db.fetchval(
            f"SELECT EXISTS (SELECT FROM {inbox} WHERE id = $1)"
            f" OR EXISTS (SELECT FROM {outboxes(reader)} o WHERE o.id = $1 AND o.receivers @> ARRAY[$2])",
            message_id,
            receiver,
        )
    )


async def count_ended(db: Connection, messages: Sequence[tuple[str, UUID]]) -> int:
    """Counts those of these messages, by receiver and id, that have ended there."""
    count: int = await db.fetchval(
        f"SELECT count(*) FROM unnest($1::text[], $2::uuid[]) AS m (service, id)"
        f" JOIN {of_all_services('inbox', 'id')} i USING (service, id)",
        [receiver for receiver, _ in messages],
        [message_id for _, message_id in messages],
    )
    return count


async def insert_resend(db: Connection, message: OpenMessage, queue: str) -> None:
    """Sends the message again, to this queue only."""
    await db.execute(
        """
        INSERT INTO outbox (id, queue, name, dataset, subject, command, mandatory, data, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8)
        ON CONFLICT (id, queue) DO UPDATE SET sent_at = NULL, due_at = now()
        """,
        message.id,
        queue,
        message.name,
        message.dataset,
        message.subject,
        message.command,
        message.data,
        message.created_at,
    )


async def delete_ended(db: Connection, service: str) -> int:
    """Deletes sent messages that each of their receivers has ended; returns how many."""
    inboxes = {name: "inbox" if name == service else f"{name}.inbox" for name in {*SERVICES, service}}
    # OFFSET 0 keeps the planner from hashing whole inboxes.
    ended = " AND ".join(
        f"(NOT receivers @> ARRAY['{name}'] OR EXISTS (SELECT FROM {inbox} i WHERE i.id = o.id OFFSET 0))"
        for name, inbox in sorted(inboxes.items())
    )
    status = await db.execute(f"DELETE FROM outbox o WHERE sent_at IS NOT NULL AND {ended}")
    return int(status.split()[-1])
