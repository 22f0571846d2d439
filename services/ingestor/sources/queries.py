"""Queries about syncs: the next page of each, the cursor of each source, and the ids that a sync has seen."""

from collections.abc import Collection
from uuid import UUID

import msgspec

from services.ingestor.ddl import quote
from services.ingestor.write import upsert_sql
from shared.catalog.dataset import Dataset
from shared.contracts.commands import PullPage
from shared.contracts.parts import Problem
from shared.db import Connection

DELETE_SECONDS = 600.0


async def select_cursor(db: Connection, dataset: str, source: str) -> str | None:
    """Returns the highest value of the cursor field so far, as text."""
    cursor: str | None = await db.fetchval(
        "SELECT cursor FROM sources WHERE dataset = $1 AND source = $2", dataset, source
    )
    return cursor


async def upsert_cursor(db: Connection, dataset: str, source: str, cursor: str) -> None:
    """Stores the cursor from which the next sync continues."""
    await db.execute(
        """
        INSERT INTO sources (dataset, source, cursor) VALUES ($1, $2, $3)
        ON CONFLICT (dataset, source) DO UPDATE SET cursor = excluded.cursor, changed_at = now()
        """,
        dataset,
        source,
        cursor,
    )


async def select_duration(db: Connection, job_id: UUID) -> float:
    """Returns the seconds since the job's first page was loaded; 0 before that."""
    seconds: float | None = await db.fetchval(
        "SELECT extract(epoch FROM clock_timestamp() - planned_at)::float8 FROM imports WHERE job_id = $1", job_id
    )
    return seconds or 0.0


async def upsert_pull(db: Connection, following: PullPage) -> None:
    """Stores which pages the sync continues with."""
    await db.execute(
        """
        INSERT INTO pulls (job_id, dataset, source, chunk, at, message_id) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (job_id) DO UPDATE
        SET chunk = excluded.chunk, at = excluded.at, message_id = excluded.message_id, sent_at = now()
        """,
        following.job_id,
        following.dataset,
        following.source,
        following.chunk,
        following.at,
        following.id,
    )


async def is_next_pull(db: Connection, command: PullPage) -> bool:
    """Returns whether the sync continues with this command. Not after a newer sync of the source has begun."""
    return bool(await db.fetchval("SELECT true FROM pulls WHERE message_id = $1", command.id))


async def delete_sync_state(db: Connection, job_id: UUID) -> None:
    """Deletes what only a running sync needs."""
    await db.execute("DELETE FROM pulls WHERE job_id = $1", job_id)
    await db.execute("DELETE FROM seen WHERE job_id = $1", job_id)


async def delete_abandoned_syncs(db: Connection, dataset: str, source: str) -> None:
    """Deletes the state of syncs of the source that gave up before their last page."""
    rows = await db.fetch(
        """
        SELECT job_id FROM pulls p
        WHERE dataset = $1 AND source = $2
          AND EXISTS (SELECT FROM dead_letters d WHERE d.id = p.message_id AND d.state = 'dead')
        """,
        dataset,
        source,
    )
    for row in rows:
        await delete_sync_state(db, row["job_id"])


async def update_ended(db: Connection, job_id: UUID, chunks: int, warning: Problem | None) -> None:
    """Completes the import of a sync that has loaded its last page."""
    await db.execute(
        "UPDATE imports SET chunks = $2, warning = $3 WHERE job_id = $1",
        job_id,
        chunks,
        msgspec.to_builtins(warning) if warning else None,
    )


async def insert_seen(db: Connection, job_id: UUID, ids: Collection[str]) -> None:
    """Adds ids to those that the sync has seen."""
    await db.execute(
        "INSERT INTO seen (job_id, id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING", job_id, list(ids)
    )


async def count_missing(db: Connection, dataset: Dataset, field: str, job_id: UUID) -> tuple[int, int]:
    """Counts the rows with an id of the source, and those among them that the sync has not seen."""
    row = await db.fetchrow(
        f"""
        SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (
            SELECT FROM seen s WHERE s.job_id = $1 AND s.id = t.{quote(field)}::text))
        FROM data.{quote(dataset.name)} t WHERE t.{quote(field)} IS NOT NULL
        """,
        job_id,
        timeout=DELETE_SECONDS,
    )
    return (row[0], row[1]) if row else (0, 0)


async def delete_missing(db: Connection, dataset: Dataset, field: str, job_id: UUID, ledger: int) -> int:
    """Deletes the rows that the sync has not seen, as the work of a chunk. Returns their number."""
    count: int = await db.fetchval(upsert_sql.delete_unseen(dataset, field), ledger, job_id, timeout=DELETE_SECONDS)
    return count
