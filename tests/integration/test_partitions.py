"""Queries for one year read one partition: checked in the plans of the statements that the gateway runs."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest

from services.gateway.http.row_query import RowQuery, parse_row_query
from services.gateway.rows import queries
from services.gateway.search.search_request import SearchBody, to_search_query
from shared.catalog.report import Parameter, Report
from shared.db import Connection, Pool
from shared.search.search import find
from tests.integration.ingestor_runner import DATASETS, Ingestor, connected
from tests.integration.reader_runners import Indexer

HIRED = "hired_employees"
DATASET = DATASETS[HIRED]
PARTITION = re.compile(f"{HIRED}__[0-9]{{4}}")
ONE_YEAR = (("hired_at", "gte.2021-01-01"), ("hired_at", "lt.2022-01-01"))
LAST_DAY = (("hired_at", "gte.2021-12-31T00:00:00Z"), ("hired_at", "lte.2021-12-31T23:59:59Z"))
REPORT = Report(
    name="hires",
    title="As docs/guides/years.md says",
    datasets=(HIRED,),
    parameters=(Parameter(name="year", type="integer"),),
    sql="SELECT count(*) FROM data.hired_employees"
    " WHERE hired_at >= make_date(:year::int, 1, 1) AND hired_at < make_date(:year::int + 1, 1, 1)",
)
Ask = Callable[[Connection], Awaitable[Any]]


@pytest.fixture
async def gateway(database: dict[str, str], ingestor: Ingestor, indexer: Indexer) -> AsyncIterator[Pool]:
    """The gateway's pool; there are some hundred hires in each of four years, searchable."""
    names = ("ada", "bob", "cid", "dee dee")
    moments = ("01-01T00:00:00Z", "03-28T00:00:00Z", "07-14T12:00:00Z", "12-31T00:00:00Z", "12-31T23:59:59Z")
    text = "".join(
        f"{number},{names[number % 3]},{2019 + number % 4}-{moments[number % 5]},1,{number % 7 + 1}\n"
        for number in range(1, 1201)
    )
    for event in (await ingestor.do(HIRED, text, chunk_bytes=20_000)).loaded:
        await indexer.hear(event)
    await ingestor.pool.execute(f"ANALYZE data.{HIRED}")
    async with connected(database["gateway"], "gateway", 2) as pool:
        yield pool


class PlanSummary(msgspec.Struct, frozen=True):
    """Partitions that were read, and the plans to look at if they were too many."""

    partitions: set[str]
    plans: str

    @property
    def years(self) -> set[str]:
        return {name.removeprefix(f"{HIRED}__") for name in self.partitions}


async def explain(pool: Pool, ask: Ask) -> PlanSummary:
    """Runs the query, then explains each of its statements; returns the partitions that they read."""
    statements: list[tuple[str, tuple[Any, ...]]] = []

    def note(one: Any) -> None:
        statements.append((one.query, one.args))

    async with pool.acquire() as db, db.transaction():
        db.add_query_logger(note)
        await ask(db)
        await asyncio.sleep(0)  # asyncpg logs a statement in the next turn of the loop
        db.remove_query_logger(note)
        about = [(query, args) for query, args in statements if f'data."{HIRED}"' in query or f"data.{HIRED}" in query]
        assert about, statements
        plans = []
        for query, args in about:
            (plan,) = await db.fetchval(f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) {query}", *args)
            plans.append(plan["Plan"])
    read = {name for plan in plans for name in relations(plan) if PARTITION.fullmatch(name)}
    return PlanSummary(read, msgspec.json.format(msgspec.json.encode(plans)).decode())


def relations(plan: dict[str, Any]) -> set[str]:
    """Tables that were read, and not only planned to be."""
    found = set[str]().union(*(relations(part) for part in plan.get("Plans", ())))
    return found | ({plan["Relation Name"]} if "Relation Name" in plan and plan["Actual Loops"] else set())


def question(*conditions: tuple[str, str], order: str | None = None) -> RowQuery:
    return parse_row_query(DATASET, conditions, (), order=order, select=None)


def page(*conditions: tuple[str, str], order: str | None = None, limit: int = 10) -> Ask:
    return lambda db: queries.select_page(db, question(*conditions, order=order), limit=limit)


def after(*conditions: tuple[str, str]) -> Ask:
    """The second page."""

    async def ask(db: Connection) -> None:
        query = question(*conditions, order="hired_at.asc")
        first = await queries.select_page(db, query, limit=5)
        assert first.last is not None
        assert (
            await queries.select_page(db, query, limit=5, after=query.read_cursor(query.write_cursor(first.last)))
        ).data

    return ask


def counted(*conditions: tuple[str, str]) -> Ask:
    return lambda db: queries.count(db, question(*conditions))


class Fetching:
    """A connection whose cursors fetch all at once: asyncpg logs no statement of a real cursor."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    async def cursor(self, query: str, *args: Any, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's
        assert await self._db.fetch(query, *args, timeout=timeout)


def downloaded(*conditions: tuple[str, str]) -> Ask:
    # Fetching has the one method that RowStream needs.
    return lambda db: queries.RowStream.open(
        cast("Connection", Fetching(db)), question(*conditions), ordered=False, limit=None
    )


def searched(**body: Any) -> Ask:
    filters: dict[str, str | tuple[str, ...]] = {"hired_at": tuple(text for _, text in ONE_YEAR)}
    query = to_search_query(DATASET, SearchBody(filters=filters, **body))

    async def ask(db: Connection) -> None:
        assert (await find(db, DATASET, query)).data

    return ask


def reported(year: int) -> Ask:
    return lambda db: db.fetch(REPORT.build_statement().text, year)


QUERIES: dict[str, Ask] = {
    "page": page(*ONE_YEAR),
    "page of a day": page(*LAST_DAY),
    "page in order": page(*ONE_YEAR, order="name.desc"),
    "page in the order of time": page(*ONE_YEAR, order="hired_at.desc"),
    "page with another filter": page(*ONE_YEAR, ("name", "ilike.*a*"), ("department_id", "eq.1")),
    "page of one moment": page(("hired_at", "eq.2021-12-31T00:00:00Z")),
    "page of several moments": page(("hired_at", "in.(2021-12-31T00:00:00Z,2021-03-28T00:00:00Z)")),
    "page by and": page(("and", "(hired_at.gte.2021-01-01,hired_at.lt.2022-01-01)")),
    "next page": after(*ONE_YEAR),
    "count": counted(*ONE_YEAR),
    "download": downloaded(*ONE_YEAR),
    "row": lambda db: queries.select_row(db, DATASET, "6,2021-03-28T00:00:00Z"),
    "search": searched(q="ada"),
    "search for anything": searched(),
    "search in order": searched(q="bob", sort="hired_at.desc"),
    "search with facets, all counted": searched(q="ada or bob", facets=("department_id",), count="exact"),
    "report": reported(2021),
}


async def test_one_year_is_one_partition(gateway: Pool) -> None:
    for name, ask in QUERIES.items():
        found = await explain(gateway, ask)
        assert found.years == {"2021"}, f"{name}: {found.plans}"


async def test_so_it_is_of_statements_that_are_planned_once_for_all_values(gateway: Pool) -> None:
    """As Postgres may, for a statement that it has seen five times."""
    statements: list[tuple[str, tuple[Any, ...]]] = []

    async with gateway.acquire() as db:
        db.add_query_logger(lambda one: statements.append((one.query, one.args)))
        await page(*ONE_YEAR)(db)
        await counted(*ONE_YEAR)(db)
        await asyncio.sleep(0)
    about = [(query, args) for query, args in statements if "hired_employees" in query]
    assert len(about) == 2
    async with gateway.acquire() as db:
        await db.execute("SET plan_cache_mode = force_generic_plan")
        for number, (query, args) in enumerate(about):
            await db.execute(f"PREPARE once{number} AS {query}")
            values = ", ".join([await db.fetchval("SELECT quote_literal($1)", str(one)) for one in args])
            (plan,) = await db.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE once{number}({values})")
            assert "$1" in str(plan), plan  # it is general indeed
            assert relations(plan["Plan"]) == {f"{HIRED}__2021"}, plan
        await db.execute("DEALLOCATE ALL; RESET plan_cache_mode")


async def test_more_years_are_as_many_partitions(gateway: Pool) -> None:
    """And so the looking is not blind."""
    assert (await explain(gateway, counted(("hired_at", "gte.2021-01-01")))).years == {"2021", "2022"}
    assert (await explain(gateway, counted())).years == {"2019", "2020", "2021", "2022"}
    sparse = to_search_query(DATASET, SearchBody(q="ada"))
    assert len((await explain(gateway, lambda db: find(db, DATASET, sparse))).years) == 4


async def test_a_year_that_is_not_there_is_none(gateway: Pool) -> None:
    found = await explain(gateway, counted(("hired_at", "gte.1990-01-01"), ("hired_at", "lt.1991-01-01")))
    assert found.years == set(), found.plans
