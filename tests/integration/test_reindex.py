"""Rebuilding the search index beside the serving one: nothing is missing, counted twice or left over."""

import asyncio
import random
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from services.indexer.documents import queries, reindex, vocabulary
from services.indexer.documents.reindex import build_index
from shared.bus.failures import NotReady
from shared.contracts.commands import BuildIndex, IndexPiece
from shared.contracts.events import ChunkLoaded
from shared.reads.indexer.index import select_freshness, select_index
from tests.integration import search_oracle
from tests.integration.ingestor_runner import Ingestor
from tests.integration.job_stories import until_done
from tests.integration.search_setup import REPLACE, SEARCH, SearchEngine, books

WORDS = ("red", "green", "blue chairs", "running", "ran", "tables & chairs", "é", "")
TITLES = {"fields": ["title"], "language": "english"}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "PIECE_ROWS", 4)


def some(chance: random.Random, count: int = 12) -> list[dict[str, Any]]:
    """Of few ids, so that rows meet."""
    return [
        {"id": number, "title": chance.choice(WORDS), "body": chance.choice(WORDS)}
        for number in chance.sample(range(1, 25), count)
    ]


async def rebuild(engine: SearchEngine) -> list[IndexPiece]:
    async with engine.indexer.pool.acquire() as db, db.transaction():
        prepared = await build_index(BuildIndex(dataset="books", request_id=uuid4()), db)
    return [message for message in prepared if isinstance(message, IndexPiece)]


async def kept(engine: SearchEngine) -> tuple[set[tuple[int, str]], dict[str, tuple[int, int]]]:
    """Which words stand in which rows, and the stored count of each word."""
    await engine.indexer.count("books")
    async with engine.gateway.acquire() as db:
        index = await select_index(db, "books")
        assert index is not None
        rows = await db.fetch(f"SELECT id, unnest(tsvector_to_array(_words)) AS word FROM {index.documents}")
        words = await db.fetch(f"SELECT word, documents, occurrences FROM {index.words} WHERE occurrences <> 0")
    return {tuple(row) for row in rows}, {row["word"]: (row["documents"], row["occurrences"]) for row in words}


async def recomputed(
    engine: SearchEngine, fields: list[str]
) -> tuple[set[tuple[int, str]], dict[str, tuple[int, int]]]:
    rows = await engine.ingestor.pool.fetch("SELECT * FROM data.books")
    everywhere, standing = Counter[str](), set[tuple[int, str]]()
    for row in rows:
        found = [word for field in fields for word in search_oracle.tokens(row[field])]
        everywhere.update(found)
        standing |= {(row["id"], word) for word in found}
    anywhere = Counter(word for _, word in standing)
    return standing, {word: (anywhere[word], count) for word, count in everywhere.items()}


async def serving(engine: SearchEngine) -> int:
    async with engine.gateway.acquire() as db:
        index = await select_index(db, "books")
    assert index is not None
    return index.generation


async def test_until_the_new_generation_is_complete_the_old_one_answers(engine: SearchEngine) -> None:
    await engine.declare(TITLES)
    await engine.bring([{"id": 1, "title": "red", "body": "chairs"}, {"id": 2, "title": "chair", "body": "red"}])
    first = await serving(engine)
    pieces = await engine.declare(SEARCH)
    assert await engine.ids("chairs") == [2]
    await engine.bring([{"id": 3, "title": "a chair", "body": "blue"}])
    assert sorted(await engine.ids("chairs")) == [2, 3]
    assert await engine.ids("blue") == []
    for piece in pieces:
        assert await serving(engine) == first
        await engine.build(piece)
    assert await serving(engine) > first
    assert sorted(await engine.ids("chairs")) == [1, 2, 3]
    assert await engine.ids("blue") == [3]
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'documents' AND tablename LIKE 'books\\_\\_%'"
    assert await engine.indexer.admin.fetchval(tables) == 3


async def test_another_language_makes_other_stems(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["running", "Häuser", "chaises"]))
    for language, found in (("english", [1]), ("german", [2]), ("french", [3]), ("simple", [])):
        for piece in await engine.declare({**SEARCH, "language": language}) if language != "english" else []:
            await engine.build(piece)
        q = {"english": "runs", "german": "Haus", "french": "chaise", "simple": "runs"}[language]
        assert await engine.ids(q) == found
        assert await engine.ids(words=("running",)) == [1]
        assert await kept(engine) == await recomputed(engine, ["title", "body"])


async def test_fields_that_are_declared_but_not_indexed_yet_are_no_fault_of_the_question(engine: SearchEngine) -> None:
    await engine.declare(TITLES)
    await engine.bring([{"id": 1, "title": "red", "body": "chairs"}])
    pieces = await engine.declare({"fields": ["body", "title"]})
    assert await engine.ids("red", fields=("title",)) == [1]
    assert await engine.ids("red", fields=("title", "body")) == [1]
    assert await engine.ids("chairs", fields=("body",)) == []
    assert await engine.ids("-chairs", fields=("body",)) == [1]
    assert "searches use the fields title and the language" in (await engine.find("red")).meta.detail
    for piece in pieces:
        await engine.build(piece)
    assert await engine.ids("chairs", fields=("body",)) == [1]
    assert (await engine.find("red")).meta.detail == ""


async def test_weights_count_at_once_and_without_building(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring([{"id": 1, "title": "red", "body": "chair"}, {"id": 2, "title": "chair", "body": "red"}])
    generation = await serving(engine)
    for weights, order in (({"title": 5.0}, [1, 2]), ({"body": 5.0}, [2, 1]), ({"title": 0.5, "body": 0.1}, [1, 2])):
        assert await engine.declare({**SEARCH, "weights": weights}) == []
        assert await engine.ids("red") == order
    assert await serving(engine) == generation


async def test_search_that_is_taken_away_and_given_back_knows_everything(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["red", "blue"]))
    left = await engine.declare({**SEARCH, "language": "german"})
    assert await engine.declare(None) == []
    for piece in left:  # of a generation that is no more
        await engine.build(piece)
    assert await engine.indexer.admin.fetchval("SELECT count(*) FROM indexer.indexes WHERE dataset = 'books'") == 0
    await engine.bring([{"id": 2, "body": "green"}, {"id": 3, "body": "red"}])
    for piece in await engine.declare(SEARCH):
        await engine.build(piece)
    assert (await engine.ids("red"), await engine.ids("blue"), await engine.ids("green")) == ([1, 3], [], [2])
    assert await kept(engine) == await recomputed(engine, ["title", "body"])


async def test_a_declaration_that_is_taken_back_leaves_the_old_generation(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["red", "blue"]))
    generation = await serving(engine)
    late = await engine.declare({**SEARCH, "language": "german"})
    assert await engine.declare(SEARCH) == []
    await engine.bring(books(["green"]))
    for piece in late:
        await engine.build(piece)
    assert await serving(engine) == generation
    assert await kept(engine) == await recomputed(engine, ["title", "body"])


@pytest.mark.parametrize("seed", range(12))
async def test_pieces_and_chunks_may_come_in_any_order_and_twice(engine: SearchEngine, seed: int) -> None:
    chance = random.Random(seed)
    await engine.declare(SEARCH)
    waiting: list[Any] = []
    for _ in range(3):
        waiting += await engine.load(some(chance), chunk_bytes=60)
        for event in chance.sample(waiting, len(waiting) // 2):
            waiting.remove(event)
            await engine.indexer.index(event)
    await engine.indexer.count("books")
    # Some chunks are planned and not loaded, some loaded and not indexed, when the generation is.
    planned = await engine.ingestor.plan("books", text(chance), columns=COLUMNS, chunk_bytes=60)
    begun = planned[: len(planned) // 2]
    waiting += await engine.ingestor.load_all(begun)
    fields = ["body"] if seed % 2 else ["title", "body"]
    pieces = await (engine.declare({**SEARCH, "fields": fields}) if seed % 2 else rebuild(engine))
    assert len(pieces) > 3
    waiting += [
        *pieces,
        *pieces,
        *(chunk for chunk in planned if chunk not in begun),
        chance.choice(["replace", "add"]),
    ]
    while waiting:
        one = waiting.pop(chance.randrange(len(waiting)))
        if isinstance(one, IndexPiece):
            await engine.build(one)
        elif isinstance(one, ChunkLoaded):
            await engine.indexer.index(one)
            if chance.random() < 0.2:
                await engine.indexer.index(one)
        elif isinstance(one, str):
            if not any(chunk in waiting for chunk in planned):
                waiting += await engine.load(some(chance, 8), *([REPLACE] if one == "replace" else []), chunk_bytes=60)
            else:
                waiting.append(one)
        else:
            try:
                waiting.append(await engine.ingestor.load(one))
            except NotReady:  # an earlier chunk of its file is to be loaded first
                waiting.append(one)
    assert await kept(engine) == await recomputed(engine, fields)


COLUMNS = ("id", "title", "body")


def text(chance: random.Random) -> str:
    return "".join(f"{row['id']},{row['title']},{row['body']}\n" for row in some(chance))


@pytest.mark.parametrize("seed", range(3))
async def test_rows_change_and_go_while_the_index_is_rebuilt(engine: SearchEngine, seed: int) -> None:
    chance = random.Random(seed)
    await engine.declare(SEARCH)
    await engine.bring(some(chance, 20), chunk_bytes=60)
    await engine.bring(some(chance, 20), chunk_bytes=60)

    async def load(ingestor: Ingestor) -> None:
        for number in range(6):
            loaded = await engine.load(some(chance, 10), *([REPLACE] if number % 3 == 2 else []), chunk_bytes=60)
            assert ingestor is engine.ingestor
            await asyncio.gather(*(until_done(engine.indexer.hear, event) for event in loaded))

    async def build() -> None:
        for _ in range(2):
            pieces = await rebuild(engine)
            await asyncio.gather(*(until_done(engine.build, piece) for piece in [*pieces, *pieces]))

    async def ask() -> None:
        """Somebody always gets an answer, from one generation or the other."""
        while not done.done():
            await engine.find("red or chairs", facets=("kind",))

    done = asyncio.gather(load(engine.ingestor), build())
    await asyncio.gather(ask(), done)
    assert await kept(engine) == await recomputed(engine, ["title", "body"])


async def test_what_the_indexer_gave_up_is_found_after_a_rebuild(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["red"]))
    (given_up,) = await engine.load([{"id": 2, "title": "green", "body": "chairs"}])
    await engine.bring([{"id": 3, "title": "blue", "body": "chairs"}])
    found = await engine.find("chairs")
    assert [hit.row["id"] for hit in found.data] == [3]
    assert found.meta.version == given_up.version - 1 < found.meta.dataset_version
    for piece in await rebuild(engine):
        await engine.build(piece)
    found = await engine.find("chairs")
    assert sorted(hit.row["id"] for hit in found.data) == [2, 3]
    assert found.meta.version == found.meta.dataset_version
    (redriven,) = await engine.indexer.index(given_up)
    assert redriven.chunk == given_up.chunk
    assert await kept(engine) == await recomputed(engine, ["title", "body"])


async def test_a_chunk_that_the_first_generation_is_built_from_waits_for_it(engine: SearchEngine) -> None:
    await engine.declare(None)
    (event,) = await engine.load(books(["red", "blue"]))
    (piece,) = await engine.declare(SEARCH)
    with pytest.raises(NotReady):
        await engine.indexer.index(event)
    await engine.build(piece)
    assert len(await engine.indexer.index(event)) == 1
    assert await kept(engine) == await recomputed(engine, ["title", "body"])


async def test_a_dataset_that_becomes_searchable_reports_its_version(engine: SearchEngine) -> None:
    await engine.declare(None)
    await engine.bring(some(random.Random(1)))
    await engine.bring(some(random.Random(2)))
    for piece in await engine.declare(SEARCH):
        await engine.build(piece)
    found = await engine.find()
    assert found.meta.version == found.meta.dataset_version > 1
    async with engine.gateway.acquire() as db:
        fresh = await select_freshness(db, "books")
    assert fresh.counted == fresh.indexed == found.meta.version


async def test_searches_do_not_read_through_a_large_import_of_few_words_for_ever(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    rows = books(["red chairs"] * (vocabulary.BULK_SIZE + 1))
    events = await engine.load(rows, chunk_bytes=1 << 20)
    for event in events:
        await engine.indexer.index(event)
    await engine.indexer.count("books")
    async with engine.indexer.pool.acquire() as db:
        (index,) = await queries.select_indexes(db, "books")
        assert await db.fetchval("SELECT gin_clean_pending_list($1::text::regclass)", index.gin_index) == 0
