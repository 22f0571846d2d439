"""Dead letters: messages that a service gave up, until somebody redrives or discards them."""

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from shared.bus import inbox, outbox
from shared.bus.outbox import OutboxMessage
from shared.bus.routes import on
from shared.contracts.dead_letter_events import DiscardRequested, RedriveRequested
from shared.contracts.envelope import Envelope
from shared.contracts.events import WorkFailed
from shared.contracts.parts import Problem
from shared.db import Connection

Reason = Literal["failed", "poison", "undecodable", "too_large", "canceled"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is given up; its id is in the inbox. Those that were `canceled` with their job don't count."""

    id: UUID
    queue: str
    name: str
    dataset: str
    job_id: UUID | None
    data: bytes
    command: bool
    reason: Reason
    problem: Problem
    attempts: int
    created_at: dt.datetime


COLUMNS = DeadLetter.__struct_fields__
REDRIVABLE = "NOT (reason IN ('undecodable', 'too_large') AND attempts = 0)"
"""A letter that no service has ever read, or that could not be sent, can only be discarded."""


async def insert_dead_letter(db: Connection, letter: DeadLetter) -> int:
    """Inserts the dead letter, or its next death; returns how often it was redriven before."""
    values = {name: getattr(letter, name) for name in COLUMNS} | {"problem": msgspec.to_builtins(letter.problem)}
    redriven: int = await db.fetchval(
        f"""
        INSERT INTO dead_letters ({", ".join(COLUMNS)})
        VALUES ({", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))})
        ON CONFLICT (id) DO UPDATE SET state = 'dead', died_at = now(), settled_at = NULL, reason = excluded.reason,
               problem = excluded.problem, attempts = excluded.attempts
        RETURNING redriven
        """,
        *values.values(),
    )
    return redriven


async def give_up(db: Connection, letter: DeadLetter) -> None:
    """Ends a message as a dead letter, and its job with the problem. Does nothing if the message has ended."""
    if not await inbox.claim(db, letter.id, letter.name):
        return
    redriven = await insert_dead_letter(db, letter)
    if letter.job_id is not None and letter.name != WorkFailed.name():
        failure = WorkFailed(
            dataset=letter.dataset,
            job_id=letter.job_id,
            message_id=letter.id,
            message=letter.name,
            problem=letter.problem,
            redriven=redriven,
        )
        await outbox.insert_messages(db, [failure])


def to_dead_letter(
    queue: str, cloud_event: Envelope, *, command: bool, reason: Reason, problem: Problem, attempts: int
) -> DeadLetter:
    """Returns the dead letter of a message that came in this envelope."""
    return DeadLetter(
        id=cloud_event.id,
        queue=queue,
        name=cloud_event.type,
        dataset=cloud_event.dataset,
        job_id=_to_uuid(cloud_event.subject),
        data=bytes(cloud_event.data),
        command=command,
        reason=reason,
        problem=problem,
        attempts=attempts,
        created_at=cloud_event.time,
    )


def from_outbox(message: OutboxMessage, *, reason: Reason, problem: Problem) -> DeadLetter:
    """Returns the dead letter of a message that can't be sent."""
    return DeadLetter(
        id=message.id,
        queue=message.queue,
        name=message.name,
        dataset=message.dataset,
        job_id=_to_uuid(message.subject),
        data=message.data,
        command=message.command,
        reason=reason,
        problem=problem,
        attempts=message.attempt,
        created_at=message.created_at,
    )


async def redrive(event: RedriveRequested, db: Connection) -> None:
    """Sends this service's dead letters among `ids` again, with all attempts before them."""
    await db.execute(
        f"""
        WITH letters AS (
            UPDATE dead_letters SET state = 'redriven', settled_at = now(), redriven = redriven + 1
            WHERE id = ANY($1::uuid[]) AND state = 'dead' AND $2 IN ('', current_schema()) AND {REDRIVABLE} RETURNING *
        ), ended AS (
            DELETE FROM inbox USING letters WHERE inbox.id = letters.id
        ), tried AS (
            DELETE FROM attempts USING letters WHERE message_id = letters.id
        )
        INSERT INTO outbox (id, queue, name, dataset, subject, command, mandatory, receivers, data, created_at, lane)
        SELECT id, queue, name, dataset, coalesce(job_id::text, ''), command, true,
               ARRAY[split_part(queue, '.', 1)], data, created_at, split_part(queue, '.', 3)
        FROM letters
        ON CONFLICT (id, queue) DO UPDATE SET sent_at = NULL, due_at = now(), attempt = 0,
               receivers = excluded.receivers
        """,
        list(event.ids),
        event.service,
    )


async def discard(event: DiscardRequested, db: Connection) -> None:
    """Marks this service's dead letters among `ids` as discarded. Their messages stay ended."""
    await db.execute(
        "UPDATE dead_letters SET state = 'discarded', settled_at = now()"
        " WHERE id = ANY($1::uuid[]) AND state = 'dead' AND $2 IN ('', current_schema())",
        list(event.ids),
        event.service,
    )


async def count_dead(db: Connection) -> int:
    """Counts the dead letters of this service that wait for somebody to act."""
    count: int = await db.fetchval("SELECT count(*) FROM dead_letters WHERE state = 'dead' AND reason <> 'canceled'")
    return count


def _to_uuid(subject: str) -> UUID | None:
    try:
        return UUID(subject)
    except ValueError:
        return None


ROUTES = (on(RedriveRequested, redrive), on(DiscardRequested, discard))
"""The routes of every service."""
