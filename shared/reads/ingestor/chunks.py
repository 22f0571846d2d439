"""Loaded chunks, for the services that process them: their order, and queries about the chunk ledger."""

from collections.abc import Iterable
from typing import Literal

from shared.contracts.events import ChunkLoaded
from shared.db import LIMIT_IDLE, Connection


async def update_freshness(db: Connection, dataset: str, done: Literal["indexed", "counted"]) -> int:
    """Sets and returns the version up to which the caller has processed all chunks, in its table `freshness`.

    Call it last before the commit: it blocks other transactions on chunks of the same dataset.
    """
    await db.execute("INSERT INTO freshness (dataset) VALUES ($1) ON CONFLICT DO NOTHING", dataset)
    await db.execute(f"SELECT {LIMIT_IDLE} FROM freshness WHERE dataset = $1 FOR UPDATE", dataset)
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


def by_dataset(events: Iterable[ChunkLoaded]) -> dict[str, list[ChunkLoaded]]:
    """Returns the chunks of each dataset, by name: all transactions lock the datasets in this order."""
    chunks: dict[str, list[ChunkLoaded]] = {}
    for event in sorted(events, key=lambda event: event.dataset):
        chunks.setdefault(event.dataset, []).append(event)
    return chunks
