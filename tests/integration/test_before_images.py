"""Before-images go as early as they may: search and rollups stay right, also while an index is being built."""

import asyncio
import itertools
import random
from typing import Any

import pytest

from services.indexer.documents import reindex
from services.ingestor import before_images
from shared.bus.failures import NotReady
from shared.contracts.commands import IndexPiece
from shared.contracts.events import ChunkLoaded
from tests.integration.ingestor_runner import Ingestor
from tests.integration.job_stories import until_done
from tests.integration.pruning import prune
from tests.integration.reader_runners import Analytics, Indexer
from tests.integration.search_setup import REPLACE, SEARCH, SearchEngine
from tests.integration.test_reindex import COLUMNS, kept, rebuild, recomputed, some, text

OLD, NEW = "1,Chair,oak,1.10,,,,\n", "1,Chair,ash,2,,,,\n"


async def images(ingestor: Ingestor) -> int:
    count: int = await ingestor.pool.fetchval("SELECT count(*) FROM replaced")
    return count


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "PIECE_ROWS", 4)


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))][::5])
async def test_an_image_goes_once_both_chunks_are_indexed_and_counted(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, order: tuple[int, ...]
) -> None:
    (old,) = await ingestor.load_all(await ingestor.plan("items", OLD))
    (new,) = await ingestor.load_all(await ingestor.plan("items", NEW))
    steps = [(indexer.hear, old), (indexer.hear, new), (analytics.hear, old), (analytics.hear, new)]
    for number in order:
        assert await prune(ingestor.pool) == 0
        hear, event = steps[number]
        await hear(event)
    assert await images(ingestor) == 1
    assert await prune(ingestor.pool) == 1
    assert await analytics.rollup("items") == await analytics.recomputed("items")
    assert await indexer.documents("items") == await indexer.recomputed("items")


async def test_images_of_a_chunk_that_was_given_up_do_not_keep_the_others(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_images, "CHUNKS_AT_ONCE", 2)
    monkeypatch.setattr(before_images, "STEP_ROWS", 3)
    first = "".join(f"{number},Chair,oak,1,,,,\n" for number in range(1, 21))
    loaded = await ingestor.load_all(await ingestor.plan("items", first))
    for price in range(2, 6):
        changed = "".join(f"{number},Chair,oak,{price},,,,\n" for number in range(4 * price, 4 * price + 4))
        loaded += await ingestor.load_all(await ingestor.plan("items", changed))
    lost = loaded.pop(1)
    for event in loaded:
        await indexer.hear(event)
        await analytics.hear(event)
    kept = await ingestor.pool.fetchval("SELECT count(*) FROM replaced WHERE ledger = $1 OR was = $1", lost.ledger)
    assert await images(ingestor) - kept == await prune(ingestor.pool) > 6
    assert await images(ingestor) == kept > 0
    await indexer.hear(lost)
    await analytics.hear(lost)
    assert await prune(ingestor.pool) == kept
    assert await analytics.rollup("items") == await analytics.recomputed("items")
    assert await indexer.documents("items") == await indexer.recomputed("items")


async def handle(engine: SearchEngine, message: Any) -> list[Any]:
    """Returns what follows, or the message itself if it comes too early."""
    match message:
        case IndexPiece():
            await engine.build(message)
        case ChunkLoaded():
            await engine.indexer.index(message)
        case _:
            try:
                return [await engine.ingestor.load(message)]
            except NotReady:  # an earlier chunk of its file is to be loaded first
                return [message]
    return []


@pytest.mark.parametrize("seed", range(12))
async def test_an_index_that_is_built_while_images_go_has_right_word_counts(engine: SearchEngine, seed: int) -> None:
    chance = random.Random(seed)
    await engine.declare(SEARCH)
    waiting: list[Any] = []
    for _ in range(3):
        waiting += await engine.load(some(chance), chunk_bytes=60)
        for event in chance.sample(waiting, len(waiting) // 2):
            waiting.remove(event)
            await engine.indexer.index(event)
        await prune(engine.ingestor.pool)
    planned = await engine.ingestor.plan("books", text(chance), columns=COLUMNS, chunk_bytes=60)
    fields = ["body"] if seed % 2 else ["title", "body"]
    waiting += await (engine.declare({**SEARCH, "fields": fields}) if seed % 2 else rebuild(engine))
    replacing = await engine.load(some(chance, 8), REPLACE, chunk_bytes=60) if seed % 3 == 0 else []
    waiting += [*planned, *replacing]
    while waiting:
        message = waiting.pop(chance.randrange(len(waiting)))
        waiting += await handle(engine, message)
        await prune(engine.ingestor.pool)
    assert await kept(engine) == await recomputed(engine, fields)
    assert await images(engine.ingestor) == 0
    for piece in await rebuild(engine):
        await engine.build(piece)
    assert await kept(engine) == await recomputed(engine, fields)


@pytest.mark.parametrize("seed", range(2))
async def test_images_go_beside_loading_indexing_and_building(engine: SearchEngine, seed: int) -> None:
    chance = random.Random(seed)
    await engine.declare(SEARCH)
    await engine.bring(some(chance, 20), chunk_bytes=60)

    async def load() -> None:
        for number in range(6):
            loaded = await engine.load(some(chance, 10), *([REPLACE] if number % 3 == 2 else []), chunk_bytes=60)
            await asyncio.gather(*(until_done(engine.indexer.hear, event) for event in loaded))

    async def build() -> None:
        for _ in range(3):
            pieces = await rebuild(engine)
            await asyncio.gather(*(until_done(engine.build, piece) for piece in pieces))

    async def prune_always() -> None:
        while not done.done():
            await prune(engine.ingestor.pool)

    done = asyncio.gather(load(), build())
    await asyncio.gather(prune_always(), done)
    await prune(engine.ingestor.pool)
    assert await kept(engine) == await recomputed(engine, ["title", "body"])
    assert await images(engine.ingestor) == 0
