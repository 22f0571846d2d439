"""The public event log: one order and one set of ids for every way to read it."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.events import PublicJobEvent
from shared.db import Connection, Pool

EVERY_SECONDS = 1.0
MAX_ASSIGNED = 10_000


class StoredEvent(msgspec.Struct, frozen=True):
    """A row of the event log."""

    id: int
    type: str
    time: dt.datetime
    data: dict[str, Any]


async def insert_events(db: Connection, events: Sequence[PublicJobEvent]) -> None:
    """Appends events to the log; they get their ids after the commit."""
    if not events:
        return
    await db.execute(
        """
        INSERT INTO events (type, dataset, job_id, sequence, run, data)
        SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::int[], $5::int[], $6::jsonb[])
        """,
        [event.name() for event in events],
        [event.dataset for event in events],
        [event.job_id for event in events],
        [event.sequence for event in events],
        [event.run for event in events],
        [event.job for event in events],
    )


async def assign_ids(db: Connection) -> None:
    """Assigns ids to committed events: none that becomes visible later has a lower id.

    Call it outside of a transaction. Postgres then completes the statement and frees its lock, even if this process is
    paused in the meantime.
    """
    await db.execute(
        """
        WITH fresh AS MATERIALIZED (
            SELECT job_id, sequence, row_number() OVER (ORDER BY time, job_id, sequence) AS number
            FROM events WHERE id IS NULL ORDER BY time, job_id, sequence LIMIT $1
        ), counter AS (
            UPDATE counters SET value = value + (SELECT count(*) FROM fresh)
            WHERE name = 'events' AND EXISTS (SELECT FROM fresh)
            RETURNING value - (SELECT count(*) FROM fresh) AS before
        )
        UPDATE events e SET id = before + number FROM fresh, counter
        WHERE (e.job_id, e.sequence) = (fresh.job_id, fresh.sequence) AND e.id IS NULL
        """,
        MAX_ASSIGNED,
    )


async def run(pool: Pool) -> int:
    """Assigns ids to events that nobody has read yet. Sends nothing and returns 0."""
    async with pool.acquire() as db:
        await assign_ids(db)
    return 0


async def select_events(db: Connection, job_id: UUID, after: int, limit: int) -> list[StoredEvent]:
    """Returns a job's events with an id above `after`, in order. Call it outside of a transaction: it assigns ids."""
    await assign_ids(db)
    rows = await db.fetch(
        "SELECT id, type, time, data FROM events WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        job_id,
        after,
        limit,
    )
    return [StoredEvent(**row) for row in rows]
