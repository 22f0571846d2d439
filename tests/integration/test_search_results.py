"""How an answer is told: the best first, page by page, what was misspelt, where the words stand, how fresh it is."""

import random
import re
from html import unescape
from itertools import pairwise
from typing import Any

import pytest

from shared.search import suggestions
from shared.search.cursors import InvalidCursor
from tests.integration import search_oracle
from tests.integration.search_setup import REPLACE, SEARCH, Shelf, books, plain


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
@pytest.mark.parametrize("sort", ["", "price", "price.desc", "kind.desc.nullslast,price.asc.nullsfirst", "id.desc"])
async def test_pages_have_every_hit_once_and_in_order(shelf: Shelf, sort: str, limit: int) -> None:
    chance = random.Random(3)
    await shelf.declare(SEARCH)
    texts = ["red " * chance.randint(0, 3) + "chair " * chance.randint(0, 2) for _ in range(50)]
    rows = [
        {**row, "price": chance.choice([None, 1, 2]), "kind": chance.choice([None, "a", "b"])} for row in books(texts)
    ]
    await shelf.bring(rows)
    for q in ("red", "", "red or chair", "-red"):
        whole = await shelf.ids(q, sort=sort)
        assert sorted(whole) == [row["id"] for row in rows if holds(q, row["body"])]
        pages = [page async for page in shelf.pages(q, sort=sort, limit=limit)]
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


async def test_a_cursor_is_of_one_question_alone(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(["red chair"] * 5, kind="a"))
    cursor = (await shelf.find("red", limit=2)).next
    assert [hit.row["id"] for hit in (await shelf.find("red", limit=3, cursor=cursor, highlight=("body",))).data] == [
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
            await shelf.find(**{"cursor": cursor, **other})
    for broken in ("", "x", "é", "\0", cursor[:-3] if cursor else "", "W10", "bnVsbA"):
        with pytest.raises(InvalidCursor):
            await shelf.find("red", cursor=broken)


async def test_the_better_match_comes_first_and_ties_are_in_the_order_of_the_key(shelf: Shelf) -> None:
    await shelf.declare({**SEARCH, "weights": {"title": 4.0}})
    rows = [
        {"id": 1, "title": "blue", "body": "chair of wood"},
        {"id": 2, "title": "chair", "body": "blue and white"},
        {"id": 3, "title": "blue", "body": "chair chair chair"},
        {"id": 4, "title": "blue", "body": "chair among very many other words that make the text a long one to read"},
        {"id": 5, "title": "blue", "body": "chair of wood"},
    ]
    await shelf.bring(random.Random(1).sample(rows, 5))
    assert await shelf.ids("chair") == [2, 3, 1, 5, 4]
    assert await shelf.ids("chairs") == await shelf.ids(words=("chair",)) == [2, 3, 1, 5, 4]


async def test_what_is_not_wanted_and_not_asked_for_has_no_part_in_the_order(shelf: Shelf) -> None:
    await shelf.declare({**SEARCH, "weights": {"title": 9.0}})
    rows = [
        {"id": 1, "title": "lamp", "body": "a chair or some"},
        {"id": 2, "title": "lamp", "body": "a chair chair chair"},
        {"id": 3, "title": "chair", "body": "a chair or some"},
    ]
    await shelf.bring(rows)
    assert await shelf.ids("chair") == [3, 2, 1]
    assert await shelf.ids("chair -blue") == [3, 2, 1]
    assert await shelf.ids('chair -"red green" or -lamp') == [3, 2, 1]
    assert await shelf.ids("chair", fields=("body",)) == [2, 1, 3]
    assert await shelf.ids("-blue") == [1, 2, 3]


async def test_phrases_never_go_over_from_one_field_to_the_next(shelf: Shelf) -> None:
    fields = ["title", "body", "more", "notes", "rest"]
    await shelf.declare({"fields": fields})
    rows = [{"id": n, left: "a red", right: "chair there"} for n, (left, right) in enumerate(pairwise(fields), 1)]
    rows += [{"id": 10 + n, field: "a red chair"} for n, field in enumerate(fields)]
    rows += [{"id": 20, "title": "a red", "rest": "chair"}]
    await shelf.bring(rows)
    assert sorted(await shelf.ids('"red chair"')) == [10, 11, 12, 13, 14]
    assert sorted(await shelf.ids('red -"red chair"')) == [1, 2, 3, 4, 20]
    assert sorted(await shelf.ids('"red chair"', fields=("notes", "rest"))) == [13, 14]


MANY = ["library for reading", "libraries", "a library", "the library", "library again", "more library", "lamp"]


async def test_a_misspelt_word_is_corrected_where_little_is_found(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(MANY))
    found = await shelf.find("libary")
    assert [(c.word, c.corrected) for c in found.meta.corrections] == [("libary", ["library"])]
    assert sorted(hit.row["id"] for hit in found.data) == [1, 2, 3, 4, 5, 6]
    assert (found.total.value, found.total.relation) == (6, "eq")
    assert set(found.meta.words) >= {"library", "libraries"}
    for q in ("ilbrary", "libbrary", "LIBRARJ", "lïbary", "libary reading"):
        assert (await shelf.find(q)).meta.corrections, q
        assert (await shelf.find(q)).data, q
    for asked in (
        {"q": "libary", "typos": False},
        {"words": ("libary",)},
        {"q": "library"},
        {"q": "lam"},  # too short to say what was meant
        {"q": "lib4ry"},
        {"q": "zzzzzzzz"},
        {"q": "liba*"},
        {"q": "library" * 20},
    ):
        assert (await shelf.find(**asked)).meta.corrections == [], asked


async def test_what_is_not_wanted_is_not_corrected_into_more(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books([*MANY, "lamp and library"]))
    found = await shelf.find("lamp -libary")
    assert (sorted(hit.row["id"] for hit in found.data), found.meta.corrections) == ([7, 8], [])


async def test_corrections_know_only_words_that_still_stand_somewhere(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(["library"]))
    await shelf.bring(books(["something"]))
    found = await shelf.find("libary")
    assert (found.data, found.meta.corrections) == ([], [])
    async with shelf.gateway.acquire() as db:
        assert await suggestions.suggest(db, "books", "lib", 5) == []


async def test_a_question_goes_on_with_the_most_frequent_words(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books([*MANY, "Café", "cafeteria", "100 cafés"]))

    async def told(q: str, limit: int = 10) -> list[tuple[str, str, int]]:
        async with shelf.gateway.acquire() as db:
            return [(one.q, one.word, one.documents) for one in await suggestions.suggest(db, "books", q, limit)]

    assert await told("Red LIB") == [("Red library", "library", 5), ("Red libraries", "libraries", 1)]
    assert await told('-"lib', 1) == [('-"library', "library", 5)]
    assert await told("cafe\u0301") == [("café", "café", 1), ("cafés", "cafés", 1)]
    assert await told("lib ") == await told("") == await told("lib%") == await told("l_") == []
    assert await told("1") == [("100", "100", 1)]


HTML = re.compile(r"<mark>(.*?)</mark>")


@pytest.mark.parametrize(
    ("text", "asked", "marked"),
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
    shelf: Shelf, text: str, asked: str, marked: list[str]
) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books([text]))
    (hit,) = (await shelf.find(asked, highlight=("body", "title"))).data
    (html,) = hit.highlight["body"]
    assert hit.highlight["title"] == []
    assert HTML.findall(html) == marked
    bare = html.replace("<mark>", "").replace("</mark>", "")
    assert not set("<>\"'") & set(bare)
    assert search_oracle.unicodedata.normalize("NFC", text) == unescape(bare)


async def test_of_a_long_text_the_first_places_are_shown(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    filler = "so many other words " * 30
    await shelf.bring(
        books([f"{filler}red one {filler}red two{filler} red <b>three</b> {filler} red four", filler + "red"])
    )
    first, second = sorted((await shelf.find("red", highlight=("body",))).data, key=lambda hit: int(hit.row["id"]))
    pieces = first.highlight["body"]
    assert [HTML.findall(piece) for piece in pieces] == [["red"]] * 3
    assert all(piece.startswith("…") and piece.endswith("…") and len(piece) < 250 for piece in pieces)
    assert [piece.split("</mark>")[1].split()[0] for piece in pieces] == ["one", "twoso", "&lt;b&gt;three&lt;/b&gt;"]
    assert second.highlight["body"][0].endswith("<mark>red</mark>")


async def test_only_what_is_there_is_found_whatever_becomes_of_the_rows(shelf: Shelf) -> None:
    await shelf.declare(SEARCH)
    await shelf.bring(books(["red", "blue", "green"]))
    assert plain(await shelf.find("red")).meta.version == 1
    loaded = await shelf.load([{"id": 1, "body": "yellow"}])
    before = await shelf.find("yellow")
    assert (before.data, before.meta.version, before.meta.dataset_version) == ([], 1, 2)
    for event in loaded:
        await shelf.indexer.index(event)
    after = await shelf.find("yellow")
    assert ([hit.row["id"] for hit in after.data], after.meta.version, after.meta.dataset_version) == ([1], 2, 2)
    assert await shelf.ids("red") == []
    await shelf.bring([{"id": 2, "body": "blue"}, {"id": 4, "body": "red"}], REPLACE)
    assert [await shelf.ids(q) for q in ("red", "blue", "green", "yellow")] == [[4], [2], [], []]
    assert (await shelf.find("-red")).total.value == 1
    found = await shelf.find("blue")
    assert found.meta.version == found.meta.dataset_version


async def test_versions_never_run_ahead_of_what_is_found(shelf: Shelf) -> None:
    chance = random.Random(8)
    await shelf.declare(SEARCH)
    waiting = [
        event
        for text in ("red", "blue", "green", "red")
        for event in await shelf.load(books([text] * 30), chunk_bytes=50)
    ]
    assert len(waiting) > 20
    chance.shuffle(waiting)
    left = {event.ledger for event in waiting}
    for event in waiting:
        await shelf.indexer.index(event)
        left.discard(event.ledger)
        found = await shelf.find("red")
        missing = await shelf.ingestor.pool.fetchval(
            "SELECT min(version) FROM chunks WHERE ledger = ANY($1)", list(left)
        )
        assert found.meta.version == (missing - 1 if left else found.meta.dataset_version)
    assert len(await shelf.ids("red")) == 30
