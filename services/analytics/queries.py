"""What analytics remembers: the rollups, and which chunks they contain."""

from services.analytics import rollups
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Rollup
from shared.db import Connection

COUNT_SECONDS = 600.0
MAKING = 0x726F6C6C


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
