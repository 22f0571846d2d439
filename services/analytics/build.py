"""Builds rollups from all rows while the dataset is read and changed: from a snapshot, then by deltas."""

from collections.abc import Sequence

from services.analytics import deltas, group_keys, plans, queries
from services.analytics.rollup_tables import RollupTables, create, drop, numbers, quoted, rename, select
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.reads.ingestor import partitions
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.tables import DATASETS, data_table

BUILD_SECONDS = 1800.0


async def build(
    db: Connection,
    dataset: Dataset,
    *,
    kept: Sequence[RollupTables],
    dropped: Sequence[RollupTables],
    added: Sequence[RollupTables],
) -> None:
    """Builds the added rollups from all rows and drops others. The caller holds `lock_builds`."""
    drafts = [tables._replace(draft=number) for number, tables in enumerate(added)]
    versions = await build_drafts(db, dataset.name, drafts, kept)
    for tables in dropped:
        await db.execute(drop(tables), timeout=BUILD_SECONDS)
        await queries.delete_rollup(db, tables)
    for draft, tables, version in zip(drafts, added, versions, strict=True):
        await db.execute(drop(tables), timeout=BUILD_SECONDS)  # tables that an older version left without a record
        for statement in rename(draft, tables):
            await db.execute(statement)
        await queries.upsert_rollup(db, tables, version)
    if dataset.rollups:
        await update_freshness(db, dataset.name, "counted")
    else:
        await queries.delete_freshness(db, dataset.name)


async def build_drafts(
    db: Connection, dataset: str, drafts: Sequence[RollupTables], rollups: Sequence[RollupTables]
) -> list[int]:
    """Fills drafts and brings them and the built `rollups` to the same chunks; blocks counting until the commit.

    Returns the versions of the drafts' snapshots.

    A snapshot that shows a version of a dataset has all chunks up to it and none after it: a lock that lasts until the
    commit orders the versions. Built rollups get all loaded chunks, drafts those after the version of their snapshot.
    """
    versions = []
    for draft in drafts:
        for statement in create(draft):
            await db.execute(statement)
        versions.append(await _fill(db, draft))
        await db.execute("; ".join(f"ANALYZE {table}" for table in draft.all), timeout=BUILD_SECONDS)
    await queries.lock_counts(db, dataset, exclusive=True)
    await deltas.count_loaded(db, dataset, rollups)
    for draft, version in zip(drafts, versions, strict=True):
        if ledgers := await queries.select_counted_since(db, dataset, version):
            await deltas.add_chunks(db, draft, ledgers)
    return versions


async def _fill(db: Connection, draft: RollupTables) -> int:
    """Fills the draft from one snapshot; returns its version of the dataset.

    Postgres decides which partitions a statement reads shortly before it takes the snapshot. If a partition was
    attached in between, the snapshot may show the version of rows that were not read; then fills the draft again.
    """
    await plans.use(db, plans.SCAN_ALL)
    while True:
        before = await partitions.select_oids(db, draft.dataset.name)
        version: int = await db.fetchval(fill(draft), timeout=BUILD_SECONDS)
        if await partitions.select_oids(db, draft.dataset.name) == before:
            return version
        await db.execute(f"TRUNCATE {', '.join(draft.all)}")


def fill(draft: RollupTables) -> str:
    """Returns the statement that fills the draft and returns the dataset's version, in one snapshot."""
    rollup, dataset = draft.rollup, draft.dataset
    rows, keys = f"{data_table(dataset.name)} x", group_keys.names(rollup)
    columns = quoted(*(column.name for column in draft.sums), *draft.derived)
    derived = "".join(f', {expression} AS "{column}"' for column, expression in draft.derived.items())
    parts = "".join(
        f""", values_{number} AS (
            INSERT INTO {draft.values(field)} (_group, value, rows, added)
            SELECT _group, _value, _rows, 0 FROM (
                SELECT {group_keys.columns(rollup)}, x."{field}" AS _value, count(*) AS _rows
                FROM {group_keys.source(rollup, rows)} WHERE x."{field}" IS NOT NULL
                GROUP BY {numbers(draft, (field,))}
            ) v JOIN filled f ON {group_keys.same(dataset, rollup, "v", "f")}
        )"""
        for number, field in enumerate(rollup.value_fields)
    )
    return f"""
        WITH filled AS (
            INSERT INTO {draft.groups} ({keys}, {columns})
            {select(draft, rows, derived=derived)} RETURNING _group, {keys}
        ){parts}
        SELECT version FROM {DATASETS} WHERE name = '{dataset.name}'
    """
