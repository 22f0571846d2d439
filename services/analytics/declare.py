"""Makes the built rollups of a dataset match its declaration."""

from typing import NamedTuple

import structlog

from services.analytics import build, queries
from services.analytics.rollup_tables import RollupTables
from shared.catalog.dataset import Dataset
from shared.contracts.events import DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection
from shared.reads.ingestor.datasets import select_dataset

log = structlog.get_logger()


class Changes(NamedTuple):
    """Differences between the built rollups of a dataset and the declared ones."""

    dataset: Dataset
    kept: list[RollupTables]
    dropped: list[RollupTables]
    added: list[RollupTables]


async def prepare_all(db: Connection) -> list[Message]:
    """Builds, at start, rollups with a missed declaration and rollups of an older version of the service."""
    for name in await queries.select_outdated(db):
        await prepare(db, name)
    return []


async def prepare_rollups(event: DatasetDeclared, db: Connection) -> None:
    """Builds the declared rollups from all rows, before the first chunk is counted."""
    await prepare(db, event.dataset)


async def prepare(db: Connection, name: str) -> None:
    """Builds rollups that are new or changed, drops others; does nothing if all match the declaration."""
    if await _select_changes(db, name) is None:
        return
    await queries.lock_builds(db, name)
    # Read again under the lock: the latest declaration wins.
    if (changes := await _select_changes(db, name)) is None:
        return
    dataset, kept, dropped, added = changes
    await build.build(db, dataset, kept=kept, dropped=dropped, added=added)
    made, gone = ([tables.rollup.name for tables in some] for some in (added, dropped))
    log.info("rollups built", dataset=name, made=made, dropped=gone)


async def _select_changes(db: Connection, name: str) -> Changes | None:
    """Returns None if every built rollup is declared, and every declared one is built and complete."""
    dataset = await select_dataset(db, name)
    rollups = await queries.select_rollups(db, dataset)
    incomplete = await queries.select_incomplete(db, name)
    kept = [t for t in rollups if t.rollup in dataset.rollups and t.rollup.name not in incomplete]
    dropped = [tables for tables in rollups if tables not in kept]
    built = [tables.rollup for tables in kept]
    added = [RollupTables(dataset, rollup) for rollup in dataset.rollups if rollup not in built]
    return Changes(dataset, kept, dropped, added) if dropped or added else None
