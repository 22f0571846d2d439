"""Adds the deltas of chunks to a rollup. Every statement uses indexes, so that its cost depends on the delta alone.

Existing rows are updated by upserts: Postgres may start an UPDATE with a join from the wrong table.

A transaction updates groups in key order before it updates their values, and so locks them until the commit. Its later
statements see all committed changes to these values, and no other transaction changes them in the meantime.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

from services.analytics import group_keys, plans, queries
from services.analytics.rollup_tables import RollupTables, quoted, select
from shared.catalog.rollup import ROWS
from shared.db import Connection
from shared.reads.ingestor.tables import before_images, data_table

COUNT_SECONDS = 600.0


async def add_chunks(db: Connection, tables: RollupTables, ledgers: Sequence[int]) -> Counter[int]:
    """Adds the combined deltas of these chunks; returns how many groups each chunk changed, by ledger number."""
    valued = tables.rollup.value_fields
    if valued:
        await db.execute(create_delta_table(tables))
    await plans.use(db, plans.SCAN_CHUNK)
    alone = len(ledgers) == 1
    row = await db.fetchrow(add_sums(tables, by_chunk=not alone), ledgers, timeout=COUNT_SECONDS)
    await plans.use(db, plans.LOOK_UP_KEYS)
    for field in valued:
        if empty := await db.fetchval(add_values(tables, field), timeout=COUNT_SECONDS):
            await db.execute(delete_values(tables, field), empty, timeout=COUNT_SECONDS)
        for statement in update_extremes(tables, field):
            await db.execute(statement, timeout=COUNT_SECONDS)
    if row and row["empty"]:
        await db.execute(delete_empty_groups(tables), row["empty"], timeout=COUNT_SECONDS)
    if valued:
        await db.execute(f"DELETE FROM {_delta_table(tables)}")
    if row is None:
        return Counter()
    return Counter({ledgers[0]: row["groups"]} if alone else dict(row["chunks"] or ()))


async def count_loaded(db: Connection, dataset: str, rollups: Sequence[RollupTables]) -> tuple[int, int]:
    """Counts all loaded chunks; returns how many were not counted yet, and how many groups they changed."""
    ledgers = await queries.claim_loaded_chunks(db, dataset)
    groups = [await add_chunks(db, tables, ledgers) for tables in rollups] if ledgers else []
    return len(ledgers), sum(counts.total() for counts in groups)


def create_delta_table(tables: RollupTables) -> str:
    """Once per connection; commits empty the table. Creating it for each chunk would bloat Postgres' catalog."""
    values = ", ".join(f"{tables.value_column(field)} {tables.type(field)}" for field in tables.rollup.value_fields)
    return (
        f"CREATE TEMP TABLE IF NOT EXISTS {_delta_table(tables)} (_group bigint, {values}, {ROWS} bigint)"
        " ON COMMIT DELETE ROWS"
    )


def add_sums(tables: RollupTables, *, by_chunk: bool) -> str:
    """$1: ledger numbers of chunks. Returns the number of changed `groups` and the ids of those that may be `empty`.

    With `by_chunk`, returns also `chunks`: pairs of a ledger number and how many groups the chunk changes by itself.

    A chunk added the rows that it wrote: current rows, plus before-images of rows that later chunks replaced. It
    removed the before-images of the rows that it replaced. One snapshot shows all of them, and sums commute, so chunks
    may be counted in any order.
    """
    rollup, name = tables.rollup, tables.dataset.name
    valued = rollup.value_fields
    was, by = (
        f"(SELECT o.*, r.{column} AS _by FROM {before_images(name, 'o')}"
        f" WHERE r.dataset = '{name}' AND r.{column} = ANY($1)) x"
        for column in ("was", "ledger")
    )
    current, image = ("x._chunk", "x._by") if by_chunk else ("", "")
    keys, values = group_keys.names(rollup), "".join(f", {tables.value_column(field)}" for field in valued)
    names = quoted(*(column.name for column in tables.sums))
    sums = ", ".join(f'sum("{column.name}") AS "{column.name}"' for column in tables.sums)
    changed = " OR ".join(f'sum("{column.name}") <> 0' for column in tables.sums)
    changed += f" OR bool_or({ROWS} <> 0)" if valued else ""
    put = ", ".join(
        f'"{column.name}" = {column.trimmed(f"""t."{column.name}" + excluded."{column.name}" """)}'
        for column in tables.sums
    )
    values_delta = f""", kept AS (
            INSERT INTO {_delta_table(tables)} (_group{values}, {ROWS})
            SELECT a._group{values}, f.{ROWS} FROM folded f
            JOIN added a ON {group_keys.same(tables.dataset, rollup, "f", "a")} WHERE f.{ROWS} <> 0
        )"""
    chunks = f""", (
            SELECT array_agg(ARRAY[_by, groups]) FROM (
                SELECT _by, count(*) AS groups FROM (
                    SELECT _by, {keys} FROM (
                        SELECT _by, {keys}{values}, {sums} FROM changes GROUP BY _by, {keys}{values}
                    ) f GROUP BY _by, {keys} HAVING {changed}
                ) t GROUP BY _by
            ) c
        ) AS chunks"""
    return f"""
        WITH changes AS (
            {select(tables, f"{data_table(name)} x", "x._chunk = ANY($1)", values=valued, chunk=current)}
            UNION ALL {select(tables, was, values=valued, chunk=image)}
            UNION ALL {select(tables, by, sign="-", values=valued, chunk=image)}
        ), folded AS (
            SELECT {keys}{values}, {sums} FROM changes GROUP BY {keys}{values}
        ), touched AS (
            SELECT {keys}, {sums} FROM folded GROUP BY {keys}
            HAVING {changed}
        ), added AS (
            INSERT INTO {tables.groups} AS t ({keys}, {names})
            SELECT {keys}, {names} FROM touched ORDER BY {keys}
            ON CONFLICT ({keys}) DO UPDATE SET {put}
            RETURNING _group, {keys}, {_is_zero(tables)} AS _empty
        ){values_delta if valued else ""}
        SELECT count(*) AS groups, array_agg(_group) FILTER (WHERE _empty) AS empty{chunks if by_chunk else ""}
        FROM added
    """


def add_values(tables: RollupTables, field: str) -> str:
    """Adds to the number of rows of each value, and to the distinct counts of groups.

    Returns the ctids of values that no row has any more.
    """
    value = tables.value_column(field)
    columns = [m.column for m in tables.rollup.parsed_measures if (m.function, m.field) == ("count_distinct", field)]
    updates = ", ".join(f'"{column}" = t."{column}" + excluded."{column}"' for column in columns)
    distinct_delta = f""", different AS (
            SELECT _group, sum((rows > 0)::int - (rows - added > 0)::int) AS more FROM put GROUP BY 1
        ), counted AS (
            INSERT INTO {tables.groups} AS t (_group, {quoted(*columns)})
            SELECT _group{", more" * len(columns)} FROM different WHERE more <> 0
            ON CONFLICT (_group) DO UPDATE SET {updates}
        )"""
    return f"""
        WITH news AS (
            SELECT _group, {value} AS value, sum({ROWS}) AS rows FROM {_delta_table(tables)}
            WHERE {value} IS NOT NULL GROUP BY 1, 2 HAVING sum({ROWS}) <> 0
        ), put AS (
            INSERT INTO {tables.values(field)} AS t (_group, value, rows, added)
            SELECT _group, value, rows, rows FROM news ORDER BY _group, value
            ON CONFLICT (_group, value) DO UPDATE SET rows = t.rows + excluded.rows, added = excluded.added
            RETURNING t.ctid AS place, _group, rows, added
        ){distinct_delta if columns else ""}
        SELECT array_agg(place::text) FILTER (WHERE rows = 0) FROM put
    """


def delete_values(tables: RollupTables, field: str) -> str:
    """$1: ctids of values. They stay valid while the transaction holds the locks on their groups."""
    return f"DELETE FROM {tables.values(field)} WHERE ctid = ANY($1::text[]::tid[])"


def update_extremes(tables: RollupTables, field: str) -> list[str]:
    """Updates the min and max of the changed groups; returns no statement for a field without either."""
    extremes = [m for m in tables.rollup.parsed_measures if m.field == field and m.function in ("min", "max")]
    if not extremes:
        return []
    lookups = ", ".join(
        f"(SELECT value FROM {tables.values(field)} v WHERE v._group = n._group AND rows > 0"
        f' ORDER BY value{" DESC" if measure.function == "max" else ""} LIMIT 1) AS "{measure.column}"'
        for measure in extremes
    )
    put = ", ".join(f'"{measure.column}" = excluded."{measure.column}"' for measure in extremes)
    moved = " OR ".join(f't."{measure.column}" IS DISTINCT FROM excluded."{measure.column}"' for measure in extremes)
    return [
        f"""
        INSERT INTO {tables.groups} AS t (_group, {quoted(*(measure.column for measure in extremes))})
        SELECT _group, {lookups} FROM (SELECT DISTINCT _group FROM {_delta_table(tables)}) n
        ON CONFLICT (_group) DO UPDATE SET {put} WHERE {moved}
        """
    ]


def delete_empty_groups(tables: RollupTables) -> str:
    """$1: ids of groups. Deletes those whose sums are all 0 and that have no values.

    While chunks are counted out of order, a group may have no rows and still a sum.
    """
    no_values = "".join(
        f" AND (SELECT true FROM {tables.values(field)} v WHERE v._group = t._group LIMIT 1) IS NULL"
        for field in tables.rollup.value_fields
    )
    return f"DELETE FROM {tables.groups} t WHERE _group = ANY($1) AND {_is_zero(tables)}{no_values}"


def _is_zero(tables: RollupTables) -> str:
    return " AND ".join(f't."{column.name}" = 0' for column in tables.sums)


def _delta_table(tables: RollupTables) -> str:
    """The temporary table of the deltas of chunks: rows added or removed, by group and values."""
    types = [tables.type(field) for field in tables.rollup.value_fields]
    return f"news_{hashlib.sha256(repr((tables.dataset.name, tables.rollup, types)).encode()).hexdigest()[:16]}"
