"""The years of a partitioned dataset: a table each, made when rows need it, and who may write to it."""

from collections.abc import Sequence

import polars as pl

from services.ingestor import ddl
from services.ingestor.write import queries
from shared.bus.failures import NotReady
from shared.catalog.dataset import Dataset
from shared.db import Connection

ANY_YEAR = 0
"""Locked by those who delete rows of whatever year."""
WRITERS_SECONDS = 300.0


async def make_partitions(db: Connection, dataset: Dataset, rows: pl.DataFrame) -> None:
    """For every year that rows fall into. Raises NotReady while one of the years is being detached."""
    if dataset.partition_by is not None and rows.height:
        await make_years(db, dataset, rows[dataset.partition_by.field].dt.year().unique().to_list())


async def make_years(db: Connection, dataset: Dataset, years: Sequence[int]) -> None:
    """As `make_partitions`. The years stay in the dataset until the transaction ends."""
    await _share(db, dataset, years)
    if await _select_missing(db, dataset, years):
        await queries.lock_declarations(db)
        for year in await _select_missing(db, dataset, years):
            for statement in ddl.create_partition(dataset, year):
                await db.execute(statement)


async def keep_years(db: Connection, dataset: Dataset) -> None:
    """For who deletes rows: no year is detached until the transaction ends. Raises NotReady while one is."""
    if dataset.partition_by is not None:
        await _share(db, dataset, [ANY_YEAR])


async def lock_year(db: Connection, dataset: Dataset, year: int) -> None:
    """Waits for those who write rows of the year, and until the transaction ends nobody begins to."""
    for number in (ANY_YEAR, year):
        await db.execute(
            "SELECT pg_advisory_xact_lock(hashtext($1), $2)",
            f"years of {dataset.name}",
            number,
            timeout=WRITERS_SECONDS,
        )


async def select_years(db: Connection, dataset: Dataset) -> list[int]:
    """Those that have a partition."""
    rows = await db.fetch(
        """
        SELECT substr(c.relname, length($1) + 3)::int AS year
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(format('data.%I', $1)) AND c.relname ~ ('^' || $1 || '__[0-9]{4}$')
        ORDER BY year
        """,
        dataset.name,
    )
    return [row["year"] for row in rows]


async def select_in_the_way(db: Connection, dataset: Dataset, year: int) -> str | None:
    """A detached table because of which that of the year can't be one: it, or an index of it, has the same name."""
    other: str | None = await db.fetchval(
        """
        SELECT coalesce(i.indrelid, c.oid)::regclass::text FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
        WHERE c.relnamespace = 'detached'::regnamespace AND (c.relname = $1::text OR EXISTS (
            SELECT FROM pg_index own JOIN pg_class x ON x.oid = own.indexrelid
            WHERE own.indrelid = to_regclass(format('data.%I', $1::text)) AND x.relname = c.relname
        )) LIMIT 1
        """,
        ddl.partition_name(dataset, year),
    )
    return other


async def _share(db: Connection, dataset: Dataset, years: Sequence[int]) -> None:
    """It is not waited for: who detaches may wait for us."""
    free = await db.fetchval(
        "SELECT bool_and(pg_try_advisory_xact_lock_shared(hashtext($1), year)) FROM unnest($2::int[]) year",
        f"years of {dataset.name}",
        list(years),
    )
    if free is False:  # and not of no year at all
        raise NotReady


async def _select_missing(db: Connection, dataset: Dataset, years: Sequence[int]) -> list[int]:
    standing = await select_years(db, dataset)
    return sorted(set(years) - set(standing))
