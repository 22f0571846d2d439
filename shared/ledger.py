"""Queries on the ingestor's tables for its consumers: declarations, and loaded chunks as their events."""

from typing import Any, Literal

import msgspec

from shared.catalog.dataset import Dataset
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import Outcome
from shared.db import Connection
from shared.retention import Delete, rows_by_key

LOOK_BACK_DAYS = 7
"""Chunks older than this are given up, so that a sweep does not scan the whole ledger."""


async def select_dataset(db: Connection, name: str) -> Dataset:
    """Returns the declaration of the dataset's table. Raises LookupError."""
    declaration = await db.fetchval("SELECT declaration FROM ingestor.datasets WHERE name = $1", name)
    if declaration is None:
        raise LookupError(f"dataset {name} is not declared")
    return msgspec.convert(declaration, Dataset)


async def select_unprocessed(db: Connection, *, seconds: float, limit: int) -> list[ChunkLoaded]:
    """Returns chunks loaded over `seconds` ago that the caller's table `chunks` lacks.

    Returns none while the caller makes progress: it has finished a chunk within the last `seconds`.
    """
    rows = await db.fetch(
        """
        SELECT c.* FROM ingestor.chunks c LEFT JOIN chunks mine USING (ledger)
        WHERE c.loaded_at < now() - $1 * interval '1 second' AND c.loaded_at > now() - $3 * interval '1 day'
          AND mine.ledger IS NULL
          AND NOT EXISTS (SELECT FROM chunks WHERE done_at > now() - $1 * interval '1 second')
        ORDER BY c.ledger LIMIT $2
        """,
        seconds,
        limit,
        LOOK_BACK_DAYS,
    )
    return [to_event(row) for row in rows]


async def update_freshness(db: Connection, dataset: str, done: Literal["indexed", "counted"]) -> int:
    """Sets and returns the version up to which the caller has processed all chunks, in its table `freshness`.

    Call it last before the commit: it blocks other transactions on chunks of the same dataset.
    """
    await db.execute("INSERT INTO freshness (dataset) VALUES ($1) ON CONFLICT DO NOTHING", dataset)
    await db.execute("SELECT FROM freshness WHERE dataset = $1 FOR UPDATE", dataset)
    version: int = await db.fetchval(
        f"""
        UPDATE freshness f SET {done} = coalesce(
            (SELECT min(c.version) - 1 FROM ingestor.chunks c
             WHERE c.dataset = $1 AND c.version > f.{done}
               AND NOT EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)),
            (SELECT max(c.version) FROM ingestor.chunks c WHERE c.dataset = $1 AND c.version > f.{done}),
            f.{done})
        WHERE f.dataset = $1 RETURNING {done}
        """,
        dataset,
    )
    return version


def delete_marks() -> Delete:
    """Deletes old rows of the caller's table `chunks` whose line is gone: without its mark, a chunk counts as new."""
    return rows_by_key(
        "chunks", "ledger", "done_at", unless="EXISTS (SELECT FROM ingestor.chunks c WHERE c.ledger = t.ledger)"
    )


def to_event(row: Any) -> ChunkLoaded:
    """Converts a row of `ingestor.chunks`."""
    return ChunkLoaded(
        dataset=row["dataset"],
        job_id=row["job_id"],
        chunk=row["chunk"],
        ledger=row["ledger"],
        version=row["version"],
        bytes=row["end_byte"] - row["start_byte"],
        outcome=Outcome(**{name: row[name] for name in Outcome.__struct_fields__}),
    )
