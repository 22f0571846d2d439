"""Every row of a searchable dataset has the document of its current words, and no other."""

import asyncio
import random
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.indexer.documents import documents, vocabulary
from services.indexer.documents.index import index_chunks
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.contracts.events import ChunkIndexed, ChunkLoaded
from tests.integration.ingestor_runner import DATASETS, Ingestor, somebody_waits
from tests.integration.job_stories import (
    CHUNK_BYTES,
    EXAMPLES,
    LINES,
    Story,
    deliver,
    deliver_at_once,
    groups,
    line_of_items,
    stories,
    until_done,
)
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


async def one_by_one(indexer: Indexer, events: list[ChunkLoaded]) -> Counter[UUID]:
    """How many documents each chunk writes if it is indexed alone. Changes nothing."""
    cache = VocabularyCache()  # of its own: a cache takes it that each call is a transaction
    async with indexer.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        indexed = [one for event in events for one in await index_chunks([event], db, cache)]
        await transaction.rollback()
    return Counter({one.id: one.documents for one in indexed})


@settings(EXAMPLES, max_examples=4)
@given(data=st.data())
async def test_groups_of_chunks_write_the_same_documents_as_one_by_one(
    ingestor: Ingestor, indexer: Indexer, data: st.DataObject
) -> None:
    told = [data.draw(stories(dataset)) for dataset in LINES]
    chance = told[0].chance
    await indexer.forget()
    for dataset in LINES:
        await indexer.prepare(dataset)
    events = [
        event
        for story in told
        for text in story.files
        for event in await ingestor.load_all(await ingestor.plan(story.dataset, text, chunk_bytes=CHUNK_BYTES), chance)
    ]
    expected = await one_by_one(indexer, chance.sample(events, len(events)))
    split = groups(events, chance)

    async def index(group: list[ChunkLoaded]) -> list[ChunkIndexed]:
        return await indexer.index(*group)

    if chance.random() < 0.5:
        results = await asyncio.gather(*(until_done(index, group) for group in split))
    else:
        results = [await index(group) for group in split]
    split += groups(chance.sample(events, len(events) // 3), chance)  # delivered twice
    results += [await index(group) for group in split[len(results) :]]
    assert [len(result) for result in results] == [len(group) for group in split]
    written: Counter[UUID] = Counter()
    for result in results:
        written.update({one.id: one.documents for one in result})
    assert written == expected
    for story in told:
        assert await indexer.documents(story.dataset) == await indexer.recomputed(story.dataset)
        version = await ingestor.pool.fetchval("SELECT version FROM datasets WHERE name = $1", story.dataset)
        assert await indexer.pool.fetchval("SELECT indexed FROM freshness WHERE dataset = $1", story.dataset) == version


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
            assert await index_chunks([event], db, indexer.vocabulary_cache)
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
