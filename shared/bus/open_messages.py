"""Queries about the open messages of a job: those that a receiver has not ended, wherever they wait."""

import datetime as dt
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from shared.bus.dead_letters import REDRIVABLE
from shared.bus.ledger import SERVICES, of_all_services
from shared.contracts.parts import Problem
from shared.db import Connection

INBOXES = of_all_services("inbox", "id")
OPEN_MESSAGES = " UNION ALL ".join(
    f"""
    SELECT o.id, o.name, o.dataset, o.subject, o.command, o.data, o.created_at, o.sent_at, o.lane, receiver
    FROM {service}.outbox o, unnest(o.receivers) AS receiver
    WHERE NOT EXISTS (SELECT FROM {INBOXES} i WHERE i.service = receiver AND i.id = o.id)
    """
    for service in SERVICES
)
"""A row for each receiver of each open message."""
RETRIES = of_all_services("outbox", "id, due_at, attempt, problem", "queue <> '' AND sent_at IS NULL")
DEAD_LETTERS = of_all_services(
    "dead_letters",
    f"id, name, job_id, reason, problem, attempts, died_at, {REDRIVABLE} AS redrivable",
    "state = 'dead'",
)
ATTEMPTS = of_all_services("attempts")
T = TypeVar("T", bound=msgspec.Struct)
COUNTED = 1000
"""Messages that are counted at most in front of another one."""


class OpenMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a job that a service has not ended. `due_at` is when it is sent again, if it waits for a retry."""

    id: UUID
    name: str
    lane: str
    service: str
    created_at: dt.datetime
    sent_at: dt.datetime | None
    due_at: dt.datetime | None
    attempts: int
    problem: Problem | None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a job that a service gave up, or that was shelved when the job was stopped."""

    id: UUID
    name: str
    service: str
    reason: str
    problem: Problem
    attempts: int
    died_at: dt.datetime
    redrivable: bool


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a message of a job that failed, or that has begun after an earlier one killed its process."""

    message_id: UUID
    name: str
    service: str
    number: int
    worker: str
    began_at: dt.datetime
    problem: Problem | None


async def count_open(db: Connection, job_id: UUID, *, events: bool) -> int:
    """Counts the open commands of a job, and with `events` its other messages too."""
    count: int = await db.fetchval(
        f"SELECT count(*) FROM ({OPEN_MESSAGES}) o WHERE subject = $1 AND (command OR $2)", str(job_id), events
    )
    return count


async def is_redriven(db: Connection, job_id: UUID) -> bool:
    """Returns whether a service that has dead letters of the job has not yet handled a request to redrive some."""
    return bool(
        await db.fetchval(
            f"""
            SELECT EXISTS (
                SELECT FROM ({OPEN_MESSAGES}) o JOIN {DEAD_LETTERS} d ON d.service = o.receiver
                WHERE o.name = 'redrive.requested' AND d.job_id = $1
            )
            """,
            job_id,
        )
    )


async def select_open(db: Connection, job_id: UUID, limit: int) -> tuple[int, list[OpenMessage]]:
    """Returns the number of open messages of a job, and the oldest of them."""
    rows = await db.fetch(
        f"""
        SELECT o.id, o.name, o.lane, o.receiver AS service, o.created_at, o.sent_at, r.due_at,
               coalesce(r.attempt, 0) AS attempts, r.problem, count(*) OVER () AS total
        FROM ({OPEN_MESSAGES}) o LEFT JOIN {RETRIES} r ON r.id = o.id AND r.service = o.receiver AND r.due_at > now()
        WHERE o.subject = $1 ORDER BY o.created_at, o.id LIMIT $2
        """,
        str(job_id),
        limit,
    )
    return (rows[0]["total"] if rows else 0), [_convert(row, OpenMessage) for row in rows]


async def count_ahead(db: Connection, message: OpenMessage) -> int:
    """Counts the open messages that were sent to the same queue before this one, up to COUNTED."""
    count: int = await db.fetchval(
        f"""
        SELECT count(*) FROM (
            SELECT FROM ({OPEN_MESSAGES}) o
            WHERE name = $1 AND receiver = $2 AND sent_at < $3 AND lane = $4 LIMIT {COUNTED}
        ) ahead
        """,
        message.name,
        message.service,
        message.sent_at,
        message.lane,
    )
    return count


async def select_dead_letters(db: Connection, job_id: UUID, limit: int | None = None) -> tuple[int, list[DeadLetter]]:
    """Returns the number of dead letters of a job, and the latest of them."""
    rows = await db.fetch(
        f"""
        SELECT id, name, service, reason, problem, attempts, died_at, redrivable, count(*) OVER () AS total
        FROM {DEAD_LETTERS} d WHERE job_id = $1 ORDER BY died_at DESC, id LIMIT $2
        """,
        job_id,
        limit,
    )
    return (rows[0]["total"] if rows else 0), [_convert(row, DeadLetter) for row in rows]


async def select_attempts(db: Connection, job_id: UUID, limit: int) -> tuple[int, list[Attempt]]:
    """Returns the number of attempts at messages of a job that did not succeed, and the latest of them."""
    rows = await db.fetch(
        f"""
        SELECT message_id, name, service, number, worker, began_at, problem, count(*) OVER () AS total
        FROM {ATTEMPTS} a WHERE job_id = $1 ORDER BY began_at DESC LIMIT $2
        """,
        job_id,
        limit,
    )
    return (rows[0]["total"] if rows else 0), [_convert(row, Attempt) for row in rows]


def _convert(row: Any, kind: type[T]) -> T:
    return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)
