"""Queries about the partitions of a dataset, one for each year: creates them for rows, and locks them."""

from collections.abc import Sequence

import polars as pl

from services.ingestor import ddl
from services.ingestor.write import queries
from shared.bus.failures import NotReady
from shared.catalog.dataset import Dataset
from shared.db import Connection

ANY_YEAR = 0
"""The lock for statements that delete rows of any year."""
LOCK_SECONDS = 300.0


async def create_partitions(db: Connection, dataset: Dataset, rows: pl.DataFrame) -> None:
    """Creates missing partitions for the rows. Raises NotReady while one of their years is being detached."""
    if dataset.partition_by is not None and rows.height:
        await create_years(db, dataset, rows[dataset.partition_by.field].dt.year().unique().to_list())


async def create_years(db: Connection, dataset: Dataset, years: Sequence[int]) -> None:
    """Creates missing partitions for these years. None of them can be detached before the transaction ends."""
    await _share(db, dataset, years)
    if await _select_missing(db, dataset, years):
        await queries.lock_declarations(db)
        for year in await _select_missing(db, dataset, years):
            for statement in ddl.create_partition(dataset, year):
                await db.execute(statement)


async def share_all_years(db: Connection, dataset: Dataset) -> None:
    """Prevents detaching until the transaction ends, for deletions. Raises NotReady while a year is being detached."""
    if dataset.partition_by is not None:
        await _share(db, dataset, [ANY_YEAR])


async def lock_year(db: Connection, dataset: Dataset, year: int) -> None:
    """Waits for the writers of the year's rows, and keeps new ones out until the transaction ends."""
    for number in (ANY_YEAR, year):
        await db.execute(
            "SELECT pg_advisory_xact_lock(hashtext($1), $2)",
            f"years of {dataset.name}",
            number,
            timeout=LOCK_SECONDS,
        )


async def select_years(db: Connection, dataset: Dataset) -> list[int]:
    """Returns the years that have a partition."""
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


async def select_conflict(db: Connection, dataset: Dataset, year: int) -> str | None:
    """Returns a detached table whose name, or an index of which, the table of the year would need."""
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
    """Does not wait, because a detachment may be waiting for this transaction. Raises NotReady."""
    free = await db.fetchval(
        "SELECT bool_and(pg_try_advisory_xact_lock_shared(hashtext($1), year)) FROM unnest($2::int[]) year",
        f"years of {dataset.name}",
        list(years),
    )
    if free is False:  # null if there are no years
        raise NotReady


async def _select_missing(db: Connection, dataset: Dataset, years: Sequence[int]) -> list[int]:
    return sorted(set(years) - set(await select_years(db, dataset)))
