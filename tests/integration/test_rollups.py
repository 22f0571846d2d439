"""Rollups equal a query over the table, whatever the order and repetition of chunks."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.ingestor_runner import DATASETS, Ingestor, forget
from tests.integration.job_stories import EXAMPLES, Story, deliver, deliver_at_once, line_of_items, stories
from tests.integration.reader_runners import KEPT, RECOMPUTED, Analytics


@pytest.mark.parametrize("dataset", RECOMPUTED)
@EXAMPLES
@given(data=st.data())
async def test_rollups_are_what_the_table_says(
    ingestor: Ingestor, analytics: Analytics, dataset: str, data: st.DataObject
) -> None:
    story = data.draw(stories(dataset))
    await forget(analytics.admin)
    await analytics.prepare(dataset)
    async for event in deliver(ingestor, story):
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
        await deliver_at_once(ingestor, Story("items", files, chance), analytics.hear)
        assert await analytics.rollup("items") == await analytics.recomputed("items")


async def test_the_rollups_of_a_dataset_stand_before_its_first_row(analytics: Analytics) -> None:
    for dataset in DATASETS:
        await analytics.prepare(dataset)
    assert [await analytics.rollup(dataset) for dataset in KEPT] == [[], [], []]
