"""Rollups are what a query over the table would give, whatever came in which order and how often."""

import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.handlers import count_chunk, prepare_rollups
from shared.contracts.events import ChunkCounted, ChunkLoaded, DatasetDeclared
from shared.db import Pool
from tests.integration.loading import DATASETS, Ingestor, connected, forget
from tests.integration.story import EXAMPLES, Story, line_of_items, stories, tell, tell_at_once

RECOMPUTED = {
    "hired_employees": """
        SELECT date_part('year', hired_at)::int, date_part('quarter', hired_at)::int, department_id, job_id,
               count(*), count(*)
        FROM data.hired_employees GROUP BY 1, 2, 3, 4
    """,
    "customers": """
        SELECT date_trunc('month', created_at)::date, count(*), coalesce(sum(account_balance), 0), count(*)
        FROM data.customers GROUP BY 1
    """,
    "items": "SELECT category, count(*), coalesce(sum(quantity), 0), count(*) FROM data.items GROUP BY 1",
}
KEPT = {
    "hired_employees": "SELECT hired_at_year, hired_at_quarter, department_id, job_id, hires, _rows"
    " FROM rollups.hired_employees__hires",
    "customers": "SELECT created_at_month, customers, balance, _rows FROM rollups.customers__joined",
    "items": "SELECT category, items, quantity, _rows FROM rollups.items__stock",
}


class Analytics:
    """The handlers of analytics, as its own role."""

    def __init__(self, pool: Pool, admin: asyncpg.Connection) -> None:
        self.pool = pool
        self.admin = admin

    async def count(self, event: ChunkLoaded) -> ChunkCounted:
        async with self.pool.acquire() as db, db.transaction():
            return await count_chunk(event, db)

    async def hear(self, event: ChunkLoaded) -> None:
        await self.count(event)

    async def prepare(self, dataset: str) -> None:
        async with self.pool.acquire() as db, db.transaction():
            await prepare_rollups(DatasetDeclared(dataset=dataset, revision=1), db)

    async def rollup(self, dataset: str) -> list[tuple[Any, ...]]:
        return await self._rows(KEPT[dataset])

    async def recomputed(self, dataset: str) -> list[tuple[Any, ...]]:
        return await self._rows(RECOMPUTED[dataset])

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return sorted(map(tuple, await self.pool.fetch(query)), key=repr)


@pytest.fixture
async def analytics(database: dict[str, str], ingestor: Ingestor) -> AsyncIterator[Analytics]:
    del ingestor  # which has declared the catalog
    admin = await asyncpg.connect(database["admin"])
    async with connected(database["analytics"], "analytics") as pool:
        yield Analytics(pool, admin)
    await admin.close()


@pytest.mark.parametrize("dataset", RECOMPUTED)
@EXAMPLES
@given(data=st.data())
async def test_rollups_are_what_the_table_says(
    ingestor: Ingestor, analytics: Analytics, dataset: str, data: st.DataObject
) -> None:
    story = data.draw(stories(dataset))
    await forget(analytics.admin)
    await analytics.prepare(dataset)
    async for event in tell(ingestor, story):
        await analytics.count(event)
    assert await analytics.rollup(dataset) == await analytics.recomputed(dataset)


async def test_a_row_that_moves_leaves_its_group_and_an_empty_group_goes(
    ingestor: Ingestor, analytics: Analytics
) -> None:
    for text in ("1,Chair,wood,1,5,,,\n", "1,Chair,metal,1,7,,,\n"):
        for event in await ingestor.load_all(await ingestor.plan("items", text)):
            await analytics.count(event)
    assert await analytics.rollup("items") == [("metal", 1, 7, 1)]


async def test_a_chunk_may_be_counted_after_the_one_that_replaced_its_rows(
    ingestor: Ingestor, analytics: Analytics
) -> None:
    texts = ("1,Chair,wood,1,5,,,\n2,Bed,wood,1,1,,,\n", "1,Chair,metal,1,7,,,\n", "1,Chair,,1,,,,\n")
    events = [e for text in texts for e in await ingestor.load_all(await ingestor.plan("items", text))]
    for event in reversed(events):
        await analytics.count(event)
    assert await analytics.rollup("items") == [("wood", 1, 1, 1), (None, 1, 0, 1)]


async def test_counting_a_chunk_twice_counts_it_once(ingestor: Ingestor, analytics: Analytics) -> None:
    (event,) = await ingestor.load_all(await ingestor.plan("items", "1,Chair,wood,1,5,,,\n"))
    await analytics.count(event)
    await analytics.count(event)
    assert await analytics.rollup("items") == [("wood", 1, 5, 1)]


@pytest.mark.parametrize("seed", range(3))
async def test_chunks_may_be_counted_while_others_are_loaded(
    ingestor: Ingestor, analytics: Analytics, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        files = ["".join(line_of_items(chance) for _ in range(40)) for _ in range(3)]
        await tell_at_once(ingestor, Story("items", files, chance), analytics.hear)
        assert await analytics.rollup("items") == await analytics.recomputed("items")


async def test_the_rollups_of_a_dataset_stand_before_its_first_row(analytics: Analytics) -> None:
    for dataset in DATASETS:
        await analytics.prepare(dataset)
    assert [await analytics.rollup(dataset) for dataset in KEPT] == [[], [], []]
