"""What analytics remembers: the rollups, and which chunks they contain."""

import msgspec

from services.analytics import rollups
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Rollup
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import Outcome
from shared.db import Connection

COUNT_SECONDS = 600.0
MAKING = 0x726F6C6C


async def select_dataset(db: Connection, name: str) -> Dataset:
    """The declaration that the dataset's table follows. Raises LookupError."""
    declaration = await db.fetchval("SELECT declaration FROM ingestor.datasets WHERE name = $1", name)
    if declaration is None:
        raise LookupError(f"dataset {name} is not declared")
    return msgspec.convert(declaration, Dataset)


async def create_rollup(db: Connection, dataset: Dataset, rollup: Rollup) -> None:
    """The table, if it is not there."""
    if await db.fetchval("SELECT to_regclass($1) IS NOT NULL", f'rollups."{rollup.table(dataset.name)}"'):
        return
    await db.execute("SELECT pg_advisory_xact_lock($1)", MAKING)
    await db.execute(rollups.create(dataset, rollup))


async def update_rollup(db: Connection, dataset: Dataset, rollup: Rollup, ledger: int) -> int:
    """Adds what the chunk changed; returns how many groups that touched."""
    groups: int = await db.fetchval(rollups.add_chunk(dataset, rollup), ledger, timeout=COUNT_SECONDS)
    await db.execute(rollups.delete_empty(dataset, rollup))
    return groups


async def insert_counted(db: Connection, ledger: int, groups: int) -> None:
    """Closes the chunk."""
    await db.execute("INSERT INTO chunks (ledger, groups) VALUES ($1, $2)", ledger, groups)


async def is_counted(db: Connection, ledger: int) -> bool:
    """Whether the rollups contain the chunk: adding it twice would be wrong, whatever the inbox says."""
    return bool(await db.fetchval("SELECT true FROM chunks WHERE ledger = $1", ledger))


async def select_uncounted(db: Connection, *, seconds: float, limit: int) -> list[ChunkLoaded]:
    """Loaded chunks that nobody counts: none was finished for so long, and these were loaded before that."""
    rows = await db.fetch(
        """
        SELECT c.* FROM ingestor.chunks c LEFT JOIN chunks a USING (ledger)
        WHERE c.loaded_at < now() - $1 * interval '1 second' AND a.ledger IS NULL
          AND NOT EXISTS (SELECT FROM chunks WHERE counted_at > now() - $1 * interval '1 second')
        ORDER BY c.ledger LIMIT $2
        """,
        seconds,
        limit,
    )
    return [
        ChunkLoaded(
            dataset=row["dataset"],
            job_id=row["job_id"],
            chunk=row["chunk"],
            ledger=row["ledger"],
            version=row["version"],
            bytes=row["end_byte"] - row["start_byte"],
            outcome=Outcome(**{word: row[word] for word in Outcome.__struct_fields__}),
        )
        for row in rows
    ]
