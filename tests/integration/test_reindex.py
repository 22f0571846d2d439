"""Documents are made anew beside those that answer: nothing is missing, counted twice or left over."""

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
from shared.search.index import select_freshness, select_index
from tests.integration import search_oracle
from tests.integration.ingestor_runner import Ingestor
from tests.integration.job_stories import until_done
from tests.integration.search_setup import REPLACE, SEARCH, Shelf, books

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


async def rebuild(shelf: Shelf) -> list[IndexPiece]:
    async with shelf.indexer.pool.acquire() as db, db.transaction():
        return await build_index(BuildIndex(dataset="books", request_id=uuid4()), db)


async def kept(shelf: Shelf) -> tuple[set[tuple[int, str]], dict[str, tuple[int, int]]]:
    """Which words stand in which rows, and how often each word is said to stand anywhere."""
    await shelf.indexer.count("books")
    async with shelf.gateway.acquire() as db:
        index = await select_index(db, "books")
        assert index is not None
        rows = await db.fetch(f"SELECT id, unnest(tsvector_to_array(_words)) AS word FROM {index.documents}")
        words = await db.fetch(f"SELECT word, documents, occurrences FROM {index.words} WHERE occurrences <> 0")
    return {tuple(row) for row in rows}, {row["word"]: (row["documents"], row["occurrences"]) for row in words}


async def recomputed(shelf: Shelf, fields: list[str]) -> tuple[set[tuple[int, str]], dict[str, tuple[int, int]]]:
    rows = await shelf.ingestor.pool.fetch("SELECT * FROM data.books")
    everywhere, standing = Counter[str](), set[tuple[int, str]]()
    for row in rows:
        found = [word for field in fields for word in search_oracle.tokens(row[field])]
        everywhere.update(found)
        standing |= {(row["id"], word) for word in found}
    anywhere = Counter(word for _, word in standing)
    return standing, {word: (anywhere[word], count) for word, count in everywhere.items()}


async def serving(shelf: Shelf) -> int:
    async with shelf.gateway.acquire() as db:
        index = await select_index(db, "books")
    assert index is not None
    return index.generation


async def test_until_the_new_generation_is_complete_the_old_one_answers(shelf: Shelf) -> None:
    await shelf.declare(TITLES)
    await shelf.bring([{"id": 1, "title": "red", "body": "chairs"}, {"id": 2, "title": "chair", "body": "red"}])
    first = await serving(shelf)
    pieces = await shelf.declare(SEARCH)
    assert await shelf.ids("chairs") == [2]
    await shelf.bring([{"id": 3, "title": "a chair", "body": "blue"}])
    assert sorted(await shelf.ids("chairs")) == [2, 3]
    assert await shelf.ids("blue") == []
    for piece in pieces:
        assert await serving(shelf) == first
        await shelf.build(piece)
    assert await serving(shelf) > first
    assert sorted(await shelf.ids("chairs")) == [1, 2, 3]
    assert await shelf.ids("blue") == [3]
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'documents' AND tablename LIKE 'books\\_\\_%'"
    assert await shelf.indexer.admin.fetchval(tables) == 3


async def test_another_language_makes_other_stems(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(["running", "Häuser", "chaises"]))
    for language, found in (("english", [1]), ("german", [2]), ("french", [3]), ("simple", [])):
        for piece in await shelf.declare({**SEARCH, "language": language}) if language != "english" else []:
            await shelf.build(piece)
        asked = {"english": "runs", "german": "Haus", "french": "chaise", "simple": "runs"}[language]
        assert await shelf.ids(asked) == found
        assert await shelf.ids(words=("running",)) == [1]
        assert await kept(shelf) == await recomputed(shelf, ["title", "body"])


async def test_fields_that_are_declared_but_not_indexed_yet_are_no_fault_of_the_question(shelf: Shelf) -> None:
    await shelf.declare(TITLES)
    await shelf.bring([{"id": 1, "title": "red", "body": "chairs"}])
    pieces = await shelf.declare({"fields": ["body", "title"]})
    assert await shelf.ids("red", fields=("title",)) == [1]
    assert await shelf.ids("red", fields=("title", "body")) == [1]
    assert await shelf.ids("chairs", fields=("body",)) == []
    assert await shelf.ids("-chairs", fields=("body",)) == [1]
    assert "searches use the fields title and the language" in (await shelf.find("red")).meta.detail
    for piece in pieces:
        await shelf.build(piece)
    assert await shelf.ids("chairs", fields=("body",)) == [1]
    assert (await shelf.find("red")).meta.detail == ""


async def test_weights_count_at_once_and_without_building(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring([{"id": 1, "title": "red", "body": "chair"}, {"id": 2, "title": "chair", "body": "red"}])
    generation = await serving(shelf)
    for weights, order in (({"title": 5.0}, [1, 2]), ({"body": 5.0}, [2, 1]), ({"title": 0.5, "body": 0.1}, [1, 2])):
        assert await shelf.declare({**SEARCH, "weights": weights}) == []
        assert await shelf.ids("red") == order
    assert await serving(shelf) == generation


async def test_search_that_is_taken_away_and_given_back_knows_everything(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(["red", "blue"]))
    left = await shelf.declare({**SEARCH, "language": "german"})
    assert await shelf.declare(None) == []
    for piece in left:  # of a generation that is no more
        await shelf.build(piece)
    assert await shelf.indexer.admin.fetchval("SELECT count(*) FROM indexer.indexes WHERE dataset = 'books'") == 0
    await shelf.bring([{"id": 2, "body": "green"}, {"id": 3, "body": "red"}])
    for piece in await shelf.declare(SEARCH):
        await shelf.build(piece)
    assert (await shelf.ids("red"), await shelf.ids("blue"), await shelf.ids("green")) == ([1, 3], [], [2])
    assert await kept(shelf) == await recomputed(shelf, ["title", "body"])


async def test_a_declaration_that_is_taken_back_leaves_the_old_generation(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(["red", "blue"]))
    generation = await serving(shelf)
    late = await shelf.declare({**SEARCH, "language": "german"})
    assert await shelf.declare(SEARCH) == []
    await shelf.bring(books(["green"]))
    for piece in late:
        await shelf.build(piece)
    assert await serving(shelf) == generation
    assert await kept(shelf) == await recomputed(shelf, ["title", "body"])


@pytest.mark.parametrize("seed", range(12))
async def test_pieces_and_chunks_may_come_in_any_order_and_twice(shelf: Shelf, seed: int) -> None:
    chance = random.Random(seed)
    await shelf.declare(SEARCH)
    waiting: list[Any] = []
    for _ in range(3):
        waiting += await shelf.load(some(chance), chunk_bytes=60)
        for event in chance.sample(waiting, len(waiting) // 2):
            waiting.remove(event)
            await shelf.indexer.index(event)
    await shelf.indexer.count("books")
    # Some chunks are planned and not loaded, some loaded and not indexed, when the generation is.
    planned = await shelf.ingestor.plan("books", text(chance), columns=COLUMNS, chunk_bytes=60)
    begun = planned[: len(planned) // 2]
    waiting += await shelf.ingestor.load_all(begun)
    fields = ["body"] if seed % 2 else ["title", "body"]
    pieces = await (shelf.declare({**SEARCH, "fields": fields}) if seed % 2 else rebuild(shelf))
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
            await shelf.build(one)
        elif isinstance(one, ChunkLoaded):
            await shelf.indexer.index(one)
            if chance.random() < 0.2:
                await shelf.indexer.index(one)
        elif isinstance(one, str):
            if not any(chunk in waiting for chunk in planned):
                waiting += await shelf.load(some(chance, 8), *([REPLACE] if one == "replace" else []), chunk_bytes=60)
            else:
                waiting.append(one)
        else:
            try:
                waiting.append(await shelf.ingestor.load(one))
            except NotReady:  # an earlier chunk of its file is to be loaded first
                waiting.append(one)
    assert await kept(shelf) == await recomputed(shelf, fields)


COLUMNS = ("id", "title", "body")


def text(chance: random.Random) -> str:
    return "".join(f"{row['id']},{row['title']},{row['body']}\n" for row in some(chance))


@pytest.mark.parametrize("seed", range(3))
async def test_rows_change_and_go_while_everything_is_built_anew(shelf: Shelf, seed: int) -> None:
    chance = random.Random(seed)
    await shelf.declare(SEARCH)
    await shelf.bring(some(chance, 20), chunk_bytes=60)
    await shelf.bring(some(chance, 20), chunk_bytes=60)

    async def load(ingestor: Ingestor) -> None:
        for number in range(6):
            loaded = await shelf.load(some(chance, 10), *([REPLACE] if number % 3 == 2 else []), chunk_bytes=60)
            assert ingestor is shelf.ingestor
            await asyncio.gather(*(until_done(shelf.indexer.hear, event) for event in loaded))

    async def build() -> None:
        for _ in range(2):
            pieces = await rebuild(shelf)
            await asyncio.gather(*(until_done(shelf.build, piece) for piece in [*pieces, *pieces]))

    async def ask() -> None:
        """Somebody always gets an answer, from one generation or the other."""
        while not done.done():
            await shelf.find("red or chairs", facets=("kind",))

    done = asyncio.gather(load(shelf.ingestor), build())
    await asyncio.gather(ask(), done)
    assert await kept(shelf) == await recomputed(shelf, ["title", "body"])


async def test_a_dataset_that_is_searched_from_now_on_tells_the_version_that_it_has(shelf: Shelf) -> None:
    await shelf.declare(None)
    await shelf.bring(some(random.Random(1)))
    await shelf.bring(some(random.Random(2)))
    for piece in await shelf.declare(SEARCH):
        await shelf.build(piece)
    found = await shelf.find()
    assert found.meta.version == found.meta.dataset_version > 1
    async with shelf.gateway.acquire() as db:
        fresh = await select_freshness(db, "books")
    assert fresh.counted == fresh.indexed == found.meta.version


async def test_searches_do_not_read_through_a_large_import_of_few_words_for_ever(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    rows = books(["red chairs"] * (vocabulary.BULK_SIZE + 1))
    events = await shelf.load(rows, chunk_bytes=1 << 20)
    for event in events:
        await shelf.indexer.index(event)
    await shelf.indexer.count("books")
    async with shelf.indexer.pool.acquire() as db:
        (index,) = await queries.select_indexes(db, "books")
        assert await db.fetchval("SELECT gin_clean_pending_list($1::text::regclass)", index.gin_index) == 0
