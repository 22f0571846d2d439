"""Adds what chunks changed to a rollup. Every statement finds what it needs by an index: its cost follows the change.

A known row is changed by an upsert rather than by an update with a join, of which Postgres may begin at the wrong end.

Whoever changes values of a group has changed its row before, in the order of keys, and so holds it until the commit.
The statements that follow see everything that others have done to its values, and nobody does more of it meanwhile.
"""

import hashlib
from collections.abc import Sequence

from services.analytics import groups, plans, queries
from services.analytics.rollups import Tables, quoted, select
from shared.catalog.rollup import ROWS
from shared.db import Connection

COUNT_SECONDS = 600.0


async def add_chunks(db: Connection, tables: Tables, ledgers: Sequence[int]) -> int:
    """Adds what these chunks changed together; returns how many groups that touched."""
    valued = tables.rollup.value_fields
    if valued:
        await db.execute(create_news(tables))
    await plans.use(db, plans.MEETING)
    row = await db.fetchrow(add_sums(tables), ledgers, timeout=COUNT_SECONDS)
    await plans.use(db, plans.KEYED)
    for field in valued:
        if empty := await db.fetchval(add_values(tables, field), timeout=COUNT_SECONDS):
            await db.execute(delete_values(tables, field), empty, timeout=COUNT_SECONDS)
        for statement in find_ends(tables, field):
            await db.execute(statement, timeout=COUNT_SECONDS)
    if row and row["empty"]:
        await db.execute(delete_empty(tables), row["empty"], timeout=COUNT_SECONDS)
    if valued:
        await db.execute(f"DELETE FROM {_news(tables)}")
    return row["groups"] if row else 0


async def count_loaded(db: Connection, dataset: str, standing: Sequence[Tables]) -> tuple[int, int]:
    """Every chunk that is loaded and not counted; returns how many there were, and how many groups that touched."""
    ledgers = await queries.claim_loaded(db, dataset)
    touched = [await add_chunks(db, tables, ledgers) for tables in standing] if ledgers else []
    return len(ledgers), sum(touched)


def create_news(tables: Tables) -> str:
    """Kept by the connection and emptied by each commit: making tables for every chunk would bloat the catalog."""
    values = ", ".join(f"{tables.value(field)} {tables.type(field)}" for field in tables.rollup.value_fields)
    return (
        f"CREATE TEMP TABLE IF NOT EXISTS {_news(tables)} (_group bigint, {values}, {ROWS} bigint)"
        " ON COMMIT DELETE ROWS"
    )


def add_sums(tables: Tables) -> str:
    """$1: the chunks' ledger numbers. Counts the `groups` that changed, and lists those that may be `empty` now.

    What the chunks wrote is what still stands of it plus what others replaced since; what they took away are the rows
    they replaced. All of it is read in one snapshot, and sums don't mind their order, so chunks may come in any.
    """
    rollup, name = tables.rollup, tables.dataset.name
    valued = rollup.value_fields
    rows = f'data."{name}"'
    old = f"(SELECT o.* FROM ingestor.replaced r, jsonb_populate_record(NULL::{rows}, r.row) o WHERE {{}}) x"
    was, by = (old.format(f"r.dataset = '{name}' AND r.{column} = ANY($1)") for column in ("was", "ledger"))
    keys, values = groups.names(rollup), "".join(f", {tables.value(field)}" for field in valued)
    names = quoted(*(sum_.column for sum_ in tables.sums))
    sums = ", ".join(f'sum("{sum_.column}") AS "{sum_.column}"' for sum_ in tables.sums)
    changed = " OR ".join(f'sum("{sum_.column}") <> 0' for sum_ in tables.sums)
    put = ", ".join(
        f'"{sum_.column}" = {sum_.trimmed(f"""t."{sum_.column}" + excluded."{sum_.column}" """)}'
        for sum_ in tables.sums
    )
    kept = f""", kept AS (
            INSERT INTO {_news(tables)} (_group{values}, {ROWS})
            SELECT a._group{values}, f.{ROWS} FROM folded f
            JOIN added a ON {groups.same(tables.dataset, rollup, "f", "a")} WHERE f.{ROWS} <> 0
        )"""
    return f"""
        WITH changes AS (
            {select(tables, f"{rows} x", "x._chunk = ANY($1)", values=valued)}
            UNION ALL {select(tables, was, values=valued)}
            UNION ALL {select(tables, by, sign="-", values=valued)}
        ), folded AS (
            SELECT {keys}{values}, {sums} FROM changes GROUP BY {keys}{values}
        ), touched AS (
            SELECT {keys}, {sums} FROM folded GROUP BY {keys}
            HAVING {changed}{f" OR bool_or({ROWS} <> 0)" if valued else ""}
        ), added AS (
            INSERT INTO {tables.groups} AS t ({keys}, {names})
            SELECT {keys}, {names} FROM touched ORDER BY {keys}
            ON CONFLICT ({keys}) DO UPDATE SET {put}
            RETURNING _group, {keys}, {_nothing(tables)} AS _empty
        ){kept if valued else ""}
        SELECT count(*) AS groups, array_agg(_group) FILTER (WHERE _empty) AS empty FROM added
    """


def add_values(tables: Tables, field: str) -> str:
    """How many rows of which group have which value now, and how many different values that makes.

    Lists the places of values that no row has any more.
    """
    value = tables.value(field)
    columns = [m.column for m in tables.rollup.parsed_measures if (m.function, m.field) == ("count_distinct", field)]
    more = ", ".join(f'"{column}" = t."{column}" + excluded."{column}"' for column in columns)
    counted = f""", different AS (
            SELECT _group, sum((rows > 0)::int - (rows - added > 0)::int) AS more FROM put GROUP BY 1
        ), counted AS (
            INSERT INTO {tables.groups} AS t (_group, {quoted(*columns)})
            SELECT _group{", more" * len(columns)} FROM different WHERE more <> 0
            ON CONFLICT (_group) DO UPDATE SET {more}
        )"""
    return f"""
        WITH news AS (
            SELECT _group, {value} AS value, sum({ROWS}) AS rows FROM {_news(tables)}
            WHERE {value} IS NOT NULL GROUP BY 1, 2 HAVING sum({ROWS}) <> 0
        ), put AS (
            INSERT INTO {tables.values(field)} AS t (_group, value, rows, added)
            SELECT _group, value, rows, rows FROM news ORDER BY _group, value
            ON CONFLICT (_group, value) DO UPDATE SET rows = t.rows + excluded.rows, added = excluded.added
            RETURNING t.ctid AS place, _group, rows, added
        ){counted if columns else ""}
        SELECT array_agg(place::text) FILTER (WHERE rows = 0) FROM put
    """


def delete_values(tables: Tables, field: str) -> str:
    """$1: their places, where they stay as long as their groups are held."""
    return f"DELETE FROM {tables.values(field)} WHERE ctid = ANY($1::text[]::tid[])"


def find_ends(tables: Tables, field: str) -> list[str]:
    """The least and the greatest value of each group that was touched; nothing if nobody wants to know."""
    ends = [m for m in tables.rollup.parsed_measures if m.field == field and m.function in ("min", "max")]
    if not ends:
        return []
    lookups = ", ".join(
        f"(SELECT value FROM {tables.values(field)} v WHERE v._group = n._group AND rows > 0"
        f' ORDER BY value{" DESC" if measure.function == "max" else ""} LIMIT 1) AS "{measure.column}"'
        for measure in ends
    )
    put = ", ".join(f'"{measure.column}" = excluded."{measure.column}"' for measure in ends)
    moved = " OR ".join(f't."{measure.column}" IS DISTINCT FROM excluded."{measure.column}"' for measure in ends)
    return [
        f"""
        INSERT INTO {tables.groups} AS t (_group, {quoted(*(measure.column for measure in ends))})
        SELECT _group, {lookups} FROM (SELECT DISTINCT _group FROM {_news(tables)}) n
        ON CONFLICT (_group) DO UPDATE SET {put} WHERE {moved}
        """
    ]


def delete_empty(tables: Tables) -> str:
    """$1: groups. Those go that nothing is left of; while chunks overtake each other, no rows may have a sum."""
    no_values = "".join(
        f" AND (SELECT true FROM {tables.values(field)} v WHERE v._group = t._group LIMIT 1) IS NULL"
        for field in tables.rollup.value_fields
    )
    return f"DELETE FROM {tables.groups} t WHERE _group = ANY($1) AND {_nothing(tables)}{no_values}"


def _nothing(tables: Tables) -> str:
    return " AND ".join(f't."{sum_.column}" = 0' for sum_ in tables.sums)


def _news(tables: Tables) -> str:
    """The temporary table of what changed: rows that came or went, by group and values."""
    types = [tables.type(field) for field in tables.rollup.value_fields]
    return f"news_{hashlib.sha256(repr((tables.dataset.name, tables.rollup, types)).encode()).hexdigest()[:16]}"
