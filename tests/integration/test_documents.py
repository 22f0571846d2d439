"""Every row of a searchable dataset has the document of its current words, and no other."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.indexer.documents import documents, vocabulary
from services.indexer.documents.index import index_chunk
from tests.integration.ingestor_runner import DATASETS, Ingestor, somebody_waits
from tests.integration.job_stories import EXAMPLES, LINES, Story, deliver, deliver_at_once, line_of_items, stories
from tests.integration.reader_runners import Indexer


@pytest.mark.parametrize("dataset", LINES)
@EXAMPLES
@given(data=st.data())
async def test_documents_are_what_the_table_says(
    ingestor: Ingestor, indexer: Indexer, dataset: str, data: st.DataObject
) -> None:
    story = data.draw(stories(dataset))
    await indexer.forget()
    await indexer.prepare(dataset)
    async for event in deliver(ingestor, story):
        await indexer.index(event)
    assert await indexer.documents(dataset) == await indexer.recomputed(dataset)


async def test_the_words_of_a_row_that_changed_are_found_and_the_old_ones_are_not(
    ingestor: Ingestor, indexer: Indexer
) -> None:
    texts = ("1,Running shoes,,1,,,,\n2,Chair,,1,,,,\n", "1,Walking shoes,,1,,,,\n")
    events = [e for text in texts for e in await ingestor.load_all(await ingestor.plan("items", text))]
    for event in reversed(events):
        await indexer.index(event)
    assert [await indexer.found(word) for word in ("shoes", "walking", "running")] == [[1], [1], []]


async def test_indexing_that_was_overtaken_by_a_newer_chunk_does_not_bring_old_words_back(
    ingestor: Ingestor, indexer: Indexer
) -> None:
    await indexer.bring(ingestor, "1,Chair,,1,,,,\n2,Chair,,1,,,,\n")
    (old,) = await ingestor.load_all(await ingestor.plan("items", "1,Running shoes,,1,,,,\n2,Running shoes,,1,,,,\n"))
    async with indexer.admin.transaction():
        index = await indexer.serving("items")
        await indexer.admin.execute(f"SELECT FROM {index.documents} WHERE id = 1 FOR UPDATE")
        late = asyncio.create_task(indexer.index(old))  # it has read both rows and waits for the first document
        await somebody_waits(indexer.pool)
        await indexer.bring(ingestor, "2,Walking shoes,,1,,,,\n")
    await late
    assert (await indexer.found("running"), await indexer.found("walking")) == ([1], [2])


async def test_words_of_a_chunk_that_is_taken_back_are_not_taken_for_known(
    ingestor: Ingestor, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "ROWS_AT_ONCE", 1)
    await indexer.prepare("items")
    (event,) = await ingestor.load_all(await ingestor.plan("items", "1,Chair,,1,,,,\n2,Chair,,1,,,,\n3,Chair,,1,,,,\n"))
    for _ in range(2):
        async with indexer.pool.acquire() as db:
            killed = db.transaction()
            await killed.start()
            assert await index_chunk(event, db, indexer.vocabulary_cache)
            await killed.rollback()
    await indexer.index(event)
    assert await indexer.documents("items") == await indexer.recomputed("items")
    await indexer.bring(ingestor, "4,Chair,,1,,,,\n")
    async with indexer.pool.acquire() as db:
        vocabulary_id = await vocabulary.select_vocabulary_id(db, await indexer.serving("items"))
    assert indexer.vocabulary_cache.missing(vocabulary_id, ["chair", "table"]) == ["table"]
    assert await indexer.documents("items") == await indexer.recomputed("items")


async def test_words_of_a_vocabulary_that_was_emptied_by_hand_are_not_taken_for_known(
    ingestor: Ingestor, indexer: Indexer
) -> None:
    await indexer.prepare("items")
    for _ in range(2):
        await indexer.bring(ingestor, "1,Chair,,1,,,,\n")
        await indexer.bring(ingestor, "2,Chair,,1,,,,\n")
        assert await indexer.documents("items") == await indexer.recomputed("items")
        index = await indexer.serving("items")
        await indexer.admin.execute(
            f"TRUNCATE data.items, {index.documents}, {index.words}, {index.deltas}, ingestor.replaced;"
            " UPDATE indexer.indexes SET words = 0"
        )


@pytest.mark.parametrize("seed", range(3))
async def test_chunks_may_be_indexed_while_others_are_loaded(ingestor: Ingestor, indexer: Indexer, seed: int) -> None:
    chance = random.Random(seed)
    await indexer.prepare("items")
    for _ in range(3):
        files = ["".join(line_of_items(chance) for _ in range(40)) for _ in range(3)]
        await deliver_at_once(ingestor, Story("items", files, chance), indexer.hear)
        assert await indexer.documents("items") == await indexer.recomputed("items")


async def test_a_dataset_can_be_searched_before_its_first_row(indexer: Indexer) -> None:
    for dataset in DATASETS:
        await indexer.prepare(dataset)
    assert [await indexer.documents(dataset) for dataset in LINES] == [([], [])] * 3
