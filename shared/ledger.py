"""What those who hear the ingestor may read of it: declarations, and loaded chunks as the events that told of them."""

from typing import Any

import msgspec

from shared.catalog.dataset import Dataset
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import Outcome
from shared.db import Connection

LOOK_BACK_DAYS = 7
"""What was not done for so long was given up; looking further back would read the whole ledger again and again."""


async def select_dataset(db: Connection, name: str) -> Dataset:
    """The declaration that the dataset's table follows. Raises LookupError."""
    declaration = await db.fetchval("SELECT declaration FROM ingestor.datasets WHERE name = $1", name)
    if declaration is None:
        raise LookupError(f"dataset {name} is not declared")
    return msgspec.convert(declaration, Dataset)


async def select_undone(db: Connection, *, seconds: float, limit: int) -> list[ChunkLoaded]:
    """Loaded chunks that the caller's own `chunks` lacks, though it has finished none, and these are there, so long."""
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


def to_event(row: Any) -> ChunkLoaded:
    """Of a row of `ingestor.chunks`."""
    return ChunkLoaded(
        dataset=row["dataset"],
        job_id=row["job_id"],
        chunk=row["chunk"],
        ledger=row["ledger"],
        version=row["version"],
        bytes=row["end_byte"] - row["start_byte"],
        outcome=Outcome(**{word: row[word] for word in Outcome.__struct_fields__}),
    )
