"""Search results: ranking, pages, corrections, suggestions, highlighting and freshness."""

import random
import re
import unicodedata
from html import unescape
from itertools import pairwise
from typing import Any

import pytest

from shared.search import suggestions
from shared.search.cursors import InvalidCursor
from tests.integration import search_oracle
from tests.integration.search_setup import MANY, REPLACE, SEARCH, SearchEngine, books, plain


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
@pytest.mark.parametrize("sort", ["", "price", "price.desc", "kind.desc.nullslast,price.asc.nullsfirst", "id.desc"])
async def test_pages_have_every_hit_once_and_in_order(engine: SearchEngine, sort: str, limit: int) -> None:
    chance = random.Random(3)
    await engine.declare(SEARCH)
    texts = ["red " * chance.randint(0, 3) + "chair " * chance.randint(0, 2) for _ in range(50)]
    rows = [
        {**row, "price": chance.choice([None, 1, 2]), "kind": chance.choice([None, "a", "b"])} for row in books(texts)
    ]
    await engine.bring(rows)
    for q in ("red", "", "red or chair", "-red"):
        whole = await engine.ids(q, sort=sort)
        assert sorted(whole) == [row["id"] for row in rows if holds(q, row["body"])]
        pages = [page async for page in engine.pages(q, sort=sort, limit=limit)]
        assert [hit.row["id"] for page in pages for hit in page.data] == whole
        assert all(len(page.data) == limit for page in pages[:-1])
        assert {page.total.value for page in pages} == {len(whole)}
        scores = [hit.score for page in pages for hit in page.data]
        assert sort or not q or scores == sorted(scores, reverse=True)
        if not sort and q == "-red":
            assert whole == sorted(whole)  # all alike


def holds(q: str, text: str) -> bool:
    words = set(search_oracle.tokens(text))
    return {"red": "red" in words, "": True, "red or chair": bool(words), "-red": "red" not in words}[q]


async def test_a_cursor_is_of_one_question_alone(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["red chair"] * 5, kind="a"))
    cursor = (await engine.find("red", limit=2)).next
    assert [hit.row["id"] for hit in (await engine.find("red", limit=3, cursor=cursor, highlight=("body",))).data] == [
        *(3, 4, 5)
    ]
    others: list[dict[str, Any]] = [
        {"q": "chair"},
        {"q": "red", "sort": "id"},
        {"q": "red", "where": {"kind": "eq.a"}},
        {"q": "red", "fields": ("body",)},
        {"q": "red", "typos": False},
        {"words": ("red",)},
        {"q": ""},
    ]
    for other in others:
        with pytest.raises(InvalidCursor):
            await engine.find(**{"cursor": cursor, **other})
    for broken in ("", "x", "é", "\0", cursor[:-3] if cursor else "", "W10", "bnVsbA"):
        with pytest.raises(InvalidCursor):
            await engine.find("red", cursor=broken)


async def test_the_better_match_comes_first_and_ties_are_in_the_order_of_the_key(engine: SearchEngine) -> None:
    await engine.declare({**SEARCH, "weights": {"title": 4.0}})
    rows = [
        {"id": 1, "title": "blue", "body": "chair of wood"},
        {"id": 2, "title": "chair", "body": "blue and white"},
        {"id": 3, "title": "blue", "body": "chair chair chair"},
        {"id": 4, "title": "blue", "body": "chair among very many other words that make the text a long one to read"},
        {"id": 5, "title": "blue", "body": "chair of wood"},
    ]
    await engine.bring(random.Random(1).sample(rows, 5))
    assert await engine.ids("chair") == [2, 3, 1, 5, 4]
    assert await engine.ids("chairs") == await engine.ids(words=("chair",)) == [2, 3, 1, 5, 4]


async def test_excluded_words_and_unsearched_fields_have_no_part_in_the_order(engine: SearchEngine) -> None:
    await engine.declare({**SEARCH, "weights": {"title": 9.0}})
    rows = [
        {"id": 1, "title": "lamp", "body": "a chair or some"},
        {"id": 2, "title": "lamp", "body": "a chair chair chair"},
        {"id": 3, "title": "chair", "body": "a chair or some"},
    ]
    await engine.bring(rows)
    assert await engine.ids("chair") == [3, 2, 1]
    assert await engine.ids("chair -blue") == [3, 2, 1]
    assert await engine.ids('chair -"red green" or -lamp') == [3, 2, 1]
    assert await engine.ids("chair", fields=("body",)) == [2, 1, 3]
    assert await engine.ids("-blue") == [1, 2, 3]


async def test_phrases_never_go_over_from_one_field_to_the_next(engine: SearchEngine) -> None:
    fields = ["title", "body", "more", "notes", "rest"]
    await engine.declare({"fields": fields})
    rows = [{"id": n, left: "a red", right: "chair there"} for n, (left, right) in enumerate(pairwise(fields), 1)]
    rows += [{"id": 10 + n, field: "a red chair"} for n, field in enumerate(fields)]
    rows += [{"id": 20, "title": "a red", "rest": "chair"}]
    await engine.bring(rows)
    assert sorted(await engine.ids('"red chair"')) == [10, 11, 12, 13, 14]
    assert sorted(await engine.ids('red -"red chair"')) == [1, 2, 3, 4, 20]
    assert sorted(await engine.ids('"red chair"', fields=("notes", "rest"))) == [13, 14]


async def test_a_question_goes_on_with_the_most_frequent_words(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books([*MANY, "Café", "cafeteria", "100 cafés"]))

    async def suggested(q: str, limit: int = 10) -> list[tuple[str, str, int]]:
        async with engine.gateway.acquire() as db:
            return [(one.q, one.word, one.documents) for one in await suggestions.suggest(db, "books", q, limit)]

    assert await suggested("Red LIB") == [("Red library", "library", 5), ("Red libraries", "libraries", 1)]
    assert await suggested('-"lib', 1) == [('-"library', "library", 5)]
    assert await suggested("cafe\u0301") == [("café", "café", 1), ("cafés", "cafés", 1)]
    assert await suggested("lib ") == await suggested("") == await suggested("lib%") == await suggested("l_") == []
    assert await suggested("1") == [("100", "100", 1)]


HTML = re.compile(r"<mark>(.*?)</mark>")


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ('<script>alert("red")</script> & red</mark>', "red", ["red", "red"]),
        ("reds, Red; infrared red_x RED!", "red", ["reds", "Red", "RED"]),
        ("cafe\u0301 und CAFÉS & cafe", "café", ["café", "CAFÉS", "cafe"]),
        ("a red chair, and a chair", '"red chair"', ["red", "chair", "chair"]),
        ("begin beginning Began", "begi*", ["begin", "beginning"]),
        ("red -blue", "red or -blue", ["red"]),
        ("&lt;red&gt; &amp; &#39;", "red lt", ["lt", "red"]),
    ],
)
async def test_words_are_marked_and_everything_is_escaped(
    engine: SearchEngine, text: str, query: str, marked: list[str]
) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books([text]))
    (hit,) = (await engine.find(query, highlight=("body", "title"))).data
    (html,) = hit.highlight["body"]
    assert hit.highlight["title"] == []
    assert HTML.findall(html) == marked
    bare = html.replace("<mark>", "").replace("</mark>", "")
    assert not set("<>\"'") & set(bare)
    assert unicodedata.normalize("NFC", text) == unescape(bare)


async def test_of_a_long_text_the_first_places_are_shown(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    filler = "so many other words " * 30
    await engine.bring(
        books([f"{filler}red one {filler}red two{filler} red <b>three</b> {filler} red four", filler + "red"])
    )
    first, second = sorted((await engine.find("red", highlight=("body",))).data, key=lambda hit: int(hit.row["id"]))
    pieces = first.highlight["body"]
    assert [HTML.findall(piece) for piece in pieces] == [["red"]] * 3
    assert all(piece.startswith("…") and piece.endswith("…") and len(piece) < 250 for piece in pieces)
    assert [piece.split("</mark>")[1].split()[0] for piece in pieces] == ["one", "twoso", "&lt;b&gt;three&lt;/b&gt;"]
    assert second.highlight["body"][0].endswith("<mark>red</mark>")


async def test_only_what_is_there_is_found_whatever_becomes_of_the_rows(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["red", "blue", "green"]))
    assert plain(await engine.find("red")).meta.version == 1
    loaded = await engine.load([{"id": 1, "body": "yellow"}])
    before = await engine.find("yellow")
    assert (before.data, before.meta.version, before.meta.dataset_version) == ([], 1, 2)
    for event in loaded:
        await engine.indexer.index(event)
    after = await engine.find("yellow")
    assert ([hit.row["id"] for hit in after.data], after.meta.version, after.meta.dataset_version) == ([1], 2, 2)
    assert await engine.ids("red") == []
    await engine.bring([{"id": 2, "body": "blue"}, {"id": 4, "body": "red"}], REPLACE)
    assert [await engine.ids(q) for q in ("red", "blue", "green", "yellow")] == [[4], [2], [], []]
    assert (await engine.find("-red")).total.value == 1
    found = await engine.find("blue")
    assert found.meta.version == found.meta.dataset_version


async def test_versions_never_run_ahead_of_what_is_found(engine: SearchEngine) -> None:
    chance = random.Random(8)
    await engine.declare(SEARCH)
    waiting = [
        event
        for text in ("red", "blue", "green", "red")
        for event in await engine.load(books([text] * 30), chunk_bytes=50)
    ]
    assert len(waiting) > 20
    chance.shuffle(waiting)
    left = {event.ledger for event in waiting}
    for event in waiting:
        await engine.indexer.index(event)
        left.discard(event.ledger)
        found = await engine.find("red")
        missing = await engine.ingestor.pool.fetchval(
            "SELECT min(version) FROM chunks WHERE ledger = ANY($1)", list(left)
        )
        assert found.meta.version == (missing - 1 if left else found.meta.dataset_version)
    assert len(await engine.ids("red")) == 30
