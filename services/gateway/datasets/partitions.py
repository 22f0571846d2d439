"""Queries of the years of partitioned datasets: those that are there, those that were detached, those that leave."""

import datetime as dt
from typing import Any, Literal

import msgspec

from services.gateway.http.problems import Problem
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.db.faults import MISSING_TABLE

COUNTED_BYTES = 8 << 20
"""The rows of a table of this size are counted, in some milliseconds."""
COUNT_SECONDS = 15.0


class Year(msgspec.Struct, frozen=True, kw_only=True):
    """A table with the rows from a day on and before another one, in UTC; `count` tells how `rows` was found.

    `bytes` are those on disk, with indexes.
    """

    year: int
    table: str
    from_: dt.date = msgspec.field(name="from")
    to: dt.date
    rows: int
    count: Literal["exact", "estimated"]
    bytes: int


class Partitions(msgspec.Struct, frozen=True):
    """The years of the dataset, and the tables of years that were detached and are kept."""

    data: list[Year]
    detached: list[Year]


async def select_partitions(db: Connection, dataset: Dataset) -> Partitions:
    """Of a partitioned dataset, the oldest first."""
    try:
        return await _select_partitions(db, dataset)
    except MISSING_TABLE:  # in this moment one was detached
        return await _select_partitions(db, dataset)


def refuse_unpartitioned(dataset: Dataset) -> None:
    """Raises Problem 422."""
    if dataset.partition_by is None:
        detail = f"{dataset.name} is a single table: it declares no partition_by."
        raise Problem(422, "not_partitioned", detail, hint="docs/declarations.md tells about partition_by.")


async def _select_partitions(db: Connection, dataset: Dataset) -> Partitions:
    rows = await db.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name, right(c.relname, 4)::int AS year,
               pg_relation_size(c.oid) AS heap, pg_total_relation_size(c.oid) AS bytes
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (n.nspname = 'data' AND c.relispartition OR n.nspname = 'detached')
          AND c.relkind = 'r' AND c.relname ~ ('^' || $1 || '__[0-9]{4}$')
        ORDER BY year
        """,
        dataset.name,
    )
    standing = [row for row in rows if row["bytes"] is not None]
    counts = await _count(db, [row for row in standing if row["heap"] <= COUNTED_BYTES])
    years = [(row["schema"], await _year(db, row, counts.get((row["schema"], row["year"])))) for row in standing]
    return Partitions(*([year for schema, year in years if schema == wanted] for wanted in ("data", "detached")))


async def _count(db: Connection, rows: list[Any]) -> dict[tuple[str, int], int]:
    """Of small tables, in one statement."""
    if not rows:
        return {}
    counts = (
        f"SELECT '{row['schema']}' AS schema, {row['year']} AS year, count(*) FROM {row['schema']}.\"{row['name']}\""
        for row in rows
    )
    found = await db.fetch(" UNION ALL ".join(counts), timeout=COUNT_SECONDS)
    return {(row["schema"], row["year"]): row["count"] for row in found}


async def _year(db: Connection, row: Any, counted: int | None) -> Year:
    number, name = row["year"], row["name"]
    rows = counted
    if rows is None:
        (plan,) = await db.fetchval(f'EXPLAIN (FORMAT JSON) SELECT FROM {row["schema"]}."{name}"')
        rows = int(plan["Plan"]["Plan Rows"])
    return Year(
        year=number,
        table=f"{row['schema']}.{name}",
        from_=dt.date(number, 1, 1),
        to=dt.date(number + 1, 1, 1),
        rows=rows,
        count="estimated" if counted is None else "exact",
        bytes=row["bytes"],
    )
