"""Queries on the ingestor's tables for its consumers: declarations, and loaded chunks as their events."""

from typing import Any, Literal

import msgspec

from shared.catalog.dataset import Dataset
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import Outcome
from shared.db import Connection


async def select_dataset(db: Connection, name: str) -> Dataset:
    """Returns the declaration of the dataset's table. Raises LookupError."""
    declaration = await db.fetchval("SELECT declaration FROM ingestor.datasets WHERE name = $1", name)
    if declaration is None:
        raise LookupError(f"dataset {name} is not declared")
    return msgspec.convert(declaration, Dataset)


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
