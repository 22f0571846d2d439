"""GET /v1/datasets/{dataset}/partitions: the years of a partitioned dataset, with sizes."""

import datetime as dt
from typing import Any, Literal

import msgspec
from litestar import get

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from shared.catalog.dataset import Dataset
from shared.db import Connection, Pool
from shared.db.faults import MISSING_TABLE

MAX_COUNTED_BYTES = 8 << 20
"""Larger tables are estimated: counting up to this size takes milliseconds."""
COUNT_SECONDS = 15.0


class Year(msgspec.Struct, frozen=True, kw_only=True):
    """A table with the rows from one day until before another, in UTC. `bytes` is its size on disk, with indexes."""

    year: int
    table: str
    from_: dt.date = msgspec.field(name="from")
    to: dt.date
    rows: int
    count: Literal["exact", "estimated"]
    bytes: int


class Partitions(msgspec.Struct, frozen=True):
    """The years of a dataset, and the existing tables of detached years."""

    data: list[Year]
    detached: list[Year]


@get(
    "/v1/datasets/{dataset:str}/partitions",
    tags=["datasets"],
    summary="List the years of a partitioned dataset",
    description="Each year is a table with the rows `from` one day until before `to`. Rows of small tables are counted,"
    " those of others are estimated by Postgres: see `count`. `detached` lists the tables of detached years.",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def list_partitions(pool: Pool, catalog: Catalog, dataset: str) -> Answer[Partitions]:
    """Lists the oldest year first."""
    declaration = await catalog.dataset(pool, dataset)
    check_partitioned(declaration)
    async with pool.acquire() as db:
        return Answer(await select_partitions(db, declaration))


async def select_partitions(db: Connection, dataset: Dataset) -> Partitions:
    """Selects the years of a partitioned dataset, oldest first."""
    try:
        return await _select_partitions(db, dataset)
    except MISSING_TABLE:  # a year was detached between the two queries
        return await _select_partitions(db, dataset)


def check_partitioned(dataset: Dataset) -> None:
    """Raises Problem 422 if the dataset is not partitioned."""
    if dataset.partition_by is None:
        detail = f"{dataset.name} is not partitioned: its declaration has no partition_by."
        raise Problem(422, "not_partitioned", detail, hint="See partition_by in docs/reference/declarations.md.")


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
    tables = [row for row in rows if row["bytes"] is not None]
    counts = await _count(db, [row for row in tables if row["heap"] <= MAX_COUNTED_BYTES])
    years = [(row["schema"], await _to_year(db, row, counts.get((row["schema"], row["year"])))) for row in tables]
    return Partitions(*([year for schema, year in years if schema == name] for name in ("data", "detached")))


async def _count(db: Connection, rows: list[Any]) -> dict[tuple[str, int], int]:
    """Counts the rows of small tables in one statement."""
    if not rows:
        return {}
    counts = (
        f"SELECT '{row['schema']}' AS schema, {row['year']} AS year, count(*) FROM {row['schema']}.\"{row['name']}\""
        for row in rows
    )
    found = await db.fetch(" UNION ALL ".join(counts), timeout=COUNT_SECONDS)
    return {(row["schema"], row["year"]): row["count"] for row in found}


async def _to_year(db: Connection, row: Any, counted: int | None) -> Year:
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
