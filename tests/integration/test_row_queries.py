"""Row queries on Postgres: filters, order, cursors and counts, compared with a brute force over the same rows."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.gateway.http.row_query import RowQuery, parse_row_query
from services.gateway.rows import queries
from services.ingestor import ddl
from shared.catalog.dataset import Dataset
from shared.db import Connection, Pool
from shared.search.filters import Filter
from tests.integration.ingestor_runner import connected
from tests.integration.row_query_strategies import (
    BLANK,
    KEYED,
    KEYLESS,
    LONG,
    MOST_ROWS,
    PAIRED,
    Condition,
    Row,
    arranged,
    condition_lists,
    orders,
    rows,
)

DATASETS = {dataset.name: dataset for dataset in (KEYED, PAIRED, KEYLESS)}
EXAMPLES = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Tables(msgspec.Struct, frozen=True):
    """The datasets' tables: written as the ingestor, read as the gateway."""

    owner: Pool
    reader: Pool

    async def fill(self, dataset: Dataset, found: list[Row]) -> None:
        """With these rows alone; without a key of their own they are numbered as they come."""
        names = [field.name for field in dataset.fields]
        places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        async with self.owner.acquire() as db:
            await db.execute(f"TRUNCATE data.{dataset.name} RESTART IDENTITY")
            await db.executemany(
                f"INSERT INTO data.{dataset.name} ({ddl.quote(*names)}, _chunk) VALUES ({places}, 0)",
                [[row[name] for name in names] for row in found],
            )


@pytest.fixture
async def filled(database: dict[str, str]) -> AsyncIterator[Tables]:
    async with (
        connected(database["ingestor"], "ingestor") as owner,
        connected(database["gateway"], "gateway") as reader,
    ):
        for dataset in DATASETS.values():
            for statement in ddl.create_table(dataset):
                await owner.execute(statement)
        yield Tables(owner, reader)


def ask(dataset: Dataset, conditions: list[Condition], order: list[tuple[str, str, str]]) -> RowQuery:
    """As the route does."""
    written = ",".join(".".join(word for word in term if word) for term in order)
    filters = [(condition.field, condition.parameter) for condition in conditions]
    return parse_row_query(dataset, filters, (), order=written or None, select=None)


async def by_cursor(db: Connection, question: RowQuery, limit: int) -> list[Row]:
    """All pages."""
    found: list[Row] = []
    after: list[Any] | None = None
    while True:
        page = await queries.select_page(db, question, limit=limit, after=after)
        found += page.data
        assert len(found) <= MOST_ROWS, "the pages go round and round"
        if page.last is None:
            return found
        assert len(page.data) == limit
        after = question.read_cursor(question.write_cursor(page.last))


@pytest.mark.parametrize("dataset", DATASETS)
@EXAMPLES
@example(
    found=[{**BLANK, "id": number, "s": "a" * LONG + end} for number, end in enumerate(("b", "a", ""), 1)]
    + [{**BLANK, "id": 4, "s": "a" * (LONG - 1) + "!"}],
    conditions=[],
    order=[("s", "", "")],
    limit=1,
)
@given(found=rows, conditions=condition_lists, order=orders(), limit=st.integers(1, 4))
async def test_a_query_finds_what_a_brute_force_finds(
    filled: Tables,
    dataset: str,
    found: list[Row],
    conditions: list[Condition],
    order: list[tuple[str, str, str]],
    limit: int,
) -> None:
    declared = DATASETS[dataset]
    if declared is KEYLESS:
        found = [{**row, "_id": number} for number, row in enumerate(found, 1)]
    await filled.fill(declared, found)
    question = ask(declared, conditions, order)
    expected = arranged([row for row in found if all(one.holds(row) for one in conditions)], order, declared.key)
    async with filled.reader.acquire() as db, db.transaction(readonly=True):
        assert await by_cursor(db, question, limit) == expected
        assert await queries.count(db, question) == len(expected)
        assert await queries.estimate(db, question) >= 0
        page = await queries.select_page(db, question, limit=limit, offset=limit)
        assert page.data == expected[limit : 2 * limit]
        stream = await queries.RowStream.open(db, question, ordered=True, limit=None)
        pieces = [row for _ in range(len(expected) // limit + 1) for row in await stream.fetch(limit)]
        assert pieces == [tuple(row[name] for name in question.columns) for row in expected]
    # And as a search job brings it.
    assert msgspec.json.decode(msgspec.json.encode(question.filters), type=tuple[Filter, ...]) == question.filters
