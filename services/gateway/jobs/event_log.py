"""The public event log: one order and one set of ids for every way to read it."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.events import PublicJobEvent
from shared.db import Connection


class StoredEvent(msgspec.Struct, frozen=True):
    """A row of the event log."""

    id: int
    type: str
    time: dt.datetime
    data: dict[str, Any]


async def insert_events(db: Connection, events: Sequence[PublicJobEvent]) -> None:
    """Appends events to the log. Their ids are allocated under a lock that lasts until the commit."""
    await db.execute(
        """
        WITH next AS (
            UPDATE counters SET value = value + cardinality($1::text[]) WHERE name = 'events' RETURNING value
        )
        INSERT INTO events (id, type, dataset, job_id, sequence, run, data)
        SELECT next.value - cardinality($1::text[]) + e.number, e.type, e.dataset, e.job_id, e.sequence, e.run, e.data
        FROM next, unnest($1::text[], $2::text[], $3::uuid[], $4::int[], $5::int[], $6::jsonb[])
             WITH ORDINALITY AS e (type, dataset, job_id, sequence, run, data, number)
        """,
        [event.name() for event in events],
        [event.dataset for event in events],
        [event.job_id for event in events],
        [event.sequence for event in events],
        [event.run for event in events],
        [event.job for event in events],
    )


async def select_events(db: Connection, job_id: UUID, after: int, limit: int) -> list[StoredEvent]:
    """Returns a job's events with an id above `after`, in order."""
    rows = await db.fetch(
        "SELECT id, type, time, data FROM events WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        job_id,
        after,
        limit,
    )
    return [StoredEvent(**row) for row in rows]
