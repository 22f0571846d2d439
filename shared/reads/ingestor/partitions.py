"""Queries about the years of a partitioned dataset: a table each, attached or detached."""

from collections.abc import Sequence

import msgspec

from shared.db import Connection
from shared.reads.ingestor.tables import DETACHED_SCHEMA, data_table

COUNT_SECONDS = 15.0


class YearTable(msgspec.Struct, frozen=True, kw_only=True):
    """The table of a year. Sizes are in bytes on disk: `heap` without indexes, `bytes` with them."""

    schema: str
    name: str
    year: int
    heap: int
    bytes: int

    @property
    def is_detached(self) -> bool:
        """Whether the table is no longer a part of the dataset."""
        return self.schema == DETACHED_SCHEMA

    @property
    def quoted(self) -> str:
        """The table in SQL."""
        return f'{self.schema}."{self.name}"'


def detached_name(dataset: str, year: str) -> str:
    """Returns the name, as users write it, of the table that has a year once it is detached."""
    return f"{DETACHED_SCHEMA}.{dataset}__{year}"


async def select_years(db: Connection, dataset: str) -> list[YearTable]:
    """Selects the tables of all years, oldest first."""
    rows = await db.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name, right(c.relname, 4)::int AS year,
               pg_relation_size(c.oid) AS heap, pg_total_relation_size(c.oid) AS bytes
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (n.nspname = 'data' AND c.relispartition OR n.nspname = 'detached')
          AND c.relkind = 'r' AND c.relname ~ ('^' || $1 || '__[0-9]{4}$')
        ORDER BY year
        """,
        dataset,
    )
    return [YearTable(**row) for row in rows if row["bytes"] is not None]


async def count_rows(db: Connection, tables: Sequence[YearTable]) -> dict[YearTable, int]:
    """Counts the rows of the tables in one statement."""
    if not tables:
        return {}
    counts = (f"SELECT {place} AS place, count(*) FROM {table.quoted}" for place, table in enumerate(tables))
    rows = await db.fetch(" UNION ALL ".join(counts), timeout=COUNT_SECONDS)
    return {tables[row["place"]]: row["count"] for row in rows}


async def estimate_rows(db: Connection, table: YearTable) -> int:
    """Returns the number of rows that Postgres' planner expects."""
    (plan,) = await db.fetchval(f"EXPLAIN (FORMAT JSON) SELECT FROM {table.quoted}")
    return int(plan["Plan"]["Plan Rows"])


async def select_oids(db: Connection, dataset: str) -> list[int]:
    """Returns the OIDs of the partitions of the dataset's table."""
    rows = await db.fetch(
        "SELECT inhrelid::bigint FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1", data_table(dataset)
    )
    return [row["inhrelid"] for row in rows]
