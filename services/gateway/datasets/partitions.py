"""GET /v1/datasets/{dataset}/partitions: the years of a partitioned dataset, with sizes."""

import datetime as dt
from typing import Literal

import msgspec
from litestar import get

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from shared.catalog.dataset import Dataset
from shared.db import Connection, Pool
from shared.db.faults import MISSING_TABLE
from shared.reads.ingestor import partitions
from shared.reads.ingestor.partitions import YearTable

MAX_COUNTED_BYTES = 8 << 20
"""Larger tables are estimated: counting up to this size takes milliseconds."""


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
    tables = await partitions.select_years(db, dataset.name)
    counts = await partitions.count_rows(db, [table for table in tables if table.heap <= MAX_COUNTED_BYTES])
    years = [(table.is_detached, await _to_year(db, table, counts.get(table))) for table in tables]
    return Partitions(*([year for is_detached, year in years if is_detached == wanted] for wanted in (False, True)))


async def _to_year(db: Connection, table: YearTable, counted: int | None) -> Year:
    return Year(
        year=table.year,
        table=f"{table.schema}.{table.name}",
        from_=dt.date(table.year, 1, 1),
        to=dt.date(table.year + 1, 1, 1),
        rows=await partitions.estimate_rows(db, table) if counted is None else counted,
        count="estimated" if counted is None else "exact",
        bytes=table.bytes,
    )
