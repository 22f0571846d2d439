"""A rollup from all rows of its dataset, while these are read and changed: as of one moment, and then up to now."""

from collections.abc import Sequence
from typing import NamedTuple

from services.analytics import counting, groups, plans, queries
from services.analytics.rollups import Tables, create, drop, numbers, quoted, rename, select
from shared import ledger
from shared.catalog.dataset import Dataset
from shared.db import Connection

BUILD_SECONDS = 1800.0


class Rebuilt(NamedTuple):
    """Groups of a rollup, how many of them were wrong, and the version that it contains."""

    groups: int
    mended: int
    version: int


async def build(
    db: Connection, dataset: Dataset, kept: Sequence[Tables], gone: Sequence[Tables], new: Sequence[Tables]
) -> None:
    """Makes new rollups from the rows and drops others. The caller holds `lock_building`."""
    drafts = [tables._replace(draft=number) for number, tables in enumerate(new)]
    await _draft(db, dataset.name, drafts, kept)
    for tables in gone:
        await db.execute(drop(tables), timeout=BUILD_SECONDS)
        await queries.delete_standing(db, tables)
    for draft, tables in zip(drafts, new, strict=True):
        await db.execute(drop(tables), timeout=BUILD_SECONDS)  # of a time when nothing was remembered of rollups
        for statement in rename(draft, tables):
            await db.execute(statement)
        await queries.upsert_standing(db, tables)
    if dataset.rollups:
        await ledger.update_freshness(db, dataset.name, "counted")
    else:
        await queries.delete_freshness(db, dataset.name)


async def rebuild(db: Connection, tables: Tables, standing: Sequence[Tables]) -> Rebuilt:
    """Mends what differs from the rows. Whoever reads waits for nothing; the caller holds `lock_building`."""
    draft = tables._replace(draft=0)
    await _draft(db, tables.dataset.name, [draft], standing)
    await plans.use(db, plans.WHOLE)
    for statement in (pair(tables, draft), *(find_wrong(tables, draft, field) for field in tables.rollup.value_fields)):
        await db.execute(statement, timeout=BUILD_SECONDS)
    row = await db.fetchrow("SELECT count(new) AS groups, count(*) FILTER (WHERE wrong) AS mended FROM pairs")
    for statement in mend(tables, draft):
        await db.execute(statement, timeout=BUILD_SECONDS)
    await db.execute(f"{drop(draft)}; DROP TABLE pairs")
    await queries.upsert_standing(db, tables)  # by the time of it, those who keep answers tell that they are old
    version = await ledger.update_freshness(db, tables.dataset.name, "counted")
    return Rebuilt(row["groups"], row["mended"], version) if row else Rebuilt(0, 0, version)


async def _draft(db: Connection, dataset: str, drafts: Sequence[Tables], standing: Sequence[Tables]) -> None:
    """Fills drafts; from then on until the commit nothing is counted, and drafts and what stands have the same chunks.

    A snapshot that shows a version of a dataset has all chunks up to it, and none after: versions are handed out under
    a lock that ends with the commit. What stands gets every chunk that is loaded by now, and drafts the later ones.
    """
    versions = []
    for draft in drafts:
        for statement in create(draft):
            await db.execute(statement)
        versions.append(await _fill(db, draft))
        await db.execute("; ".join(f"ANALYZE {table}" for table in draft.all), timeout=BUILD_SECONDS)
    await queries.lock_counting(db, dataset, alone=True)
    await counting.count_loaded(db, dataset, standing)
    for draft, version in zip(drafts, versions, strict=True):
        if ledgers := await queries.select_counted_since(db, dataset, version):
            await counting.add_chunks(db, draft, ledgers)


async def _fill(db: Connection, draft: Tables) -> int:
    """The version that it contains then.

    Which partitions a statement reads is decided a moment before its snapshot is taken. If one was attached since, the
    snapshot may show the version of rows that were not read.
    """
    await plans.use(db, plans.WHOLE)
    while True:
        before = await queries.select_partitions(db, draft.dataset.name)
        version: int = await db.fetchval(fill(draft), timeout=BUILD_SECONDS)
        if await queries.select_partitions(db, draft.dataset.name) == before:
            return version
        await db.execute(f"TRUNCATE {', '.join(draft.all)}")


def fill(draft: Tables) -> str:
    """All in one snapshot, and the version of the dataset that it shows."""
    rollup, dataset = draft.rollup, draft.dataset
    rows, keys = f'data."{dataset.name}" x', groups.names(rollup)
    columns = quoted(*(sum_.column for sum_ in draft.sums), *draft.found)
    found = "".join(f', {expression} AS "{column}"' for column, expression in draft.found.items())
    parts = "".join(
        f""", values_{number} AS (
            INSERT INTO {draft.values(field)} (_group, value, rows, added)
            SELECT _group, _value, _rows, 0 FROM (
                SELECT {groups.columns(rollup)}, x."{field}" AS _value, count(*) AS _rows
                FROM {groups.source(rollup, rows)} WHERE x."{field}" IS NOT NULL
                GROUP BY {numbers(draft, (field,))}
            ) v JOIN filled f ON {groups.same(dataset, rollup, "v", "f")}
        )"""
        for number, field in enumerate(rollup.value_fields)
    )
    return f"""
        WITH filled AS (
            INSERT INTO {draft.groups} ({keys}, {columns})
            {select(draft, rows, found=found)} RETURNING _group, {keys}
        ){parts}
        SELECT version FROM ingestor.datasets WHERE name = '{dataset.name}'
    """


def pair(tables: Tables, draft: Tables) -> str:
    """Every group as it stands and as it should: the number that it has, or shall have, and that in the draft."""
    columns = [*(sum_.column for sum_ in tables.sums), *tables.found]
    differs = " OR ".join(f't."{column}" IS DISTINCT FROM d."{column}"' for column in columns)
    return f"""
        CREATE TEMP TABLE pairs ON COMMIT DROP AS
        SELECT coalesce(t._group, nextval(pg_get_serial_sequence('{tables.groups}', '_group'))) AS old, d._group AS new,
               t._group IS NULL AS missing, t._group IS NULL OR d._group IS NULL OR {differs} AS wrong
        FROM {tables.groups} t FULL JOIN {draft.groups} d ON {groups.same(tables.dataset, tables.rollup, "t", "d")}
    """


def find_wrong(tables: Tables, draft: Tables, field: str) -> str:
    """A group is wrong, too, if its values are."""
    return f"""
        UPDATE pairs SET wrong = true WHERE old IN (
            SELECT coalesce(t._group, d.old) FROM {tables.values(field)} t FULL JOIN (
                SELECT p.old, v.value, v.rows FROM {draft.values(field)} v JOIN pairs p ON p.new = v._group
            ) d ON t._group = d.old AND t.value = d.value
            WHERE t.rows IS DISTINCT FROM d.rows
        )
    """


def mend(tables: Tables, draft: Tables) -> list[str]:
    """Makes the tables equal to the draft."""
    columns = [*(sum_.column for sum_ in tables.sums), *tables.found]
    put = ", ".join(f'"{column}" = d."{column}"' for column in columns)
    names = f"{groups.names(tables.rollup)}, {quoted(*columns)}"
    drafted = ", ".join([groups.names(tables.rollup, "d"), *(f'd."{column}"' for column in columns)])
    statements = [
        f"DELETE FROM {tables.groups} t USING pairs p WHERE t._group = p.old AND p.new IS NULL",
        f"""
        UPDATE {tables.groups} t SET {put} FROM pairs p JOIN {draft.groups} d ON d._group = p.new
        WHERE t._group = p.old AND p.wrong
        """,
        f"""
        INSERT INTO {tables.groups} (_group, {names})
        SELECT p.old, {drafted} FROM pairs p JOIN {draft.groups} d ON d._group = p.new WHERE p.missing
        """,
    ]
    for field in tables.rollup.value_fields:
        values, right = tables.values(field), draft.values(field)
        statements += [
            f"""
            DELETE FROM {values} t WHERE NOT EXISTS (
                SELECT FROM pairs JOIN {right} d ON d._group = new WHERE old = t._group AND d.value = t.value
            )
            """,
            f"""
            INSERT INTO {values} AS t (_group, value, rows, added)
            SELECT old, value, rows, 0 FROM {right} d JOIN pairs ON new = d._group
            ON CONFLICT (_group, value) DO UPDATE SET rows = excluded.rows WHERE t.rows <> excluded.rows
            """,
        ]
    return statements
