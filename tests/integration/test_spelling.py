"""Spelling: rare words of a query are corrected, by words of the dataset."""

from collections.abc import Sequence
from typing import Any

import pytest

from shared.db import Connection
from shared.search import execute, suggestions
from shared.search.execute import Matches
from shared.search.plan import SearchPlan
from shared.search.query import Correction
from tests.integration.search_setup import MANY, SEARCH, SearchEngine, books


async def test_a_misspelt_word_is_corrected_where_little_is_found(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(MANY))
    found = await engine.find("libary")
    assert [(c.word, c.corrected) for c in found.meta.corrections] == [("libary", ["library"])]
    assert sorted(hit.row["id"] for hit in found.data) == [1, 2, 3, 4, 5, 6]
    assert (found.total.value, found.total.relation) == (6, "eq")
    assert set(found.meta.words) >= {"library", "libraries"}
    for q in ("ilbrary", "libbrary", "LIBRARJ", "lïbary", "libary reading"):
        assert (await engine.find(q)).meta.corrections, q
        assert (await engine.find(q)).data, q
    for query in (
        {"q": "libary", "typos": False},
        {"words": ("libary",)},
        {"q": "library"},
        {"q": "lam"},  # too short to say what was meant
        {"q": "lib4ry"},
        {"q": "zzzzzzzz"},
        {"q": "liba*"},
        {"q": "library" * 20},
    ):
        assert (await engine.find(**query)).meta.corrections == [], query


async def test_what_is_not_wanted_is_not_corrected_into_more(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books([*MANY, "lamp and library"]))
    found = await engine.find("lamp -libary")
    assert (sorted(hit.row["id"] for hit in found.data), found.meta.corrections) == ([7, 8], [])


async def test_corrections_know_only_words_that_still_stand_somewhere(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(["library"]))
    await engine.bring(books(["something"]))
    found = await engine.find("libary")
    assert (found.data, found.meta.corrections) == ([], [])
    async with engine.gateway.acquire() as db:
        assert await suggestions.suggest(db, "books", "lib", 5) == []


async def test_a_misspelt_word_that_no_row_has_is_searched_only_corrected(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(MANY))
    executed = []
    select_page = execute.select_page

    async def record(db: Connection, plan: SearchPlan, after: Sequence[Any]) -> Matches:
        executed.append(plan.query.q)
        return await select_page(db, plan, after)

    monkeypatch.setattr(execute, "select_page", record)
    assert (await engine.find("libary")).total.value == 6
    assert (await engine.find("zzzzzzzz")).total.value == 0
    assert executed == ["libary", "zzzzzzzz"]


async def test_a_word_that_rows_have_is_not_corrected_though_it_is_not_counted_yet(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books(MANY))
    for event in await engine.load([{"id": number, "body": "libary"} for number in range(8, 14)]):
        await engine.indexer.index(event)
    found = await engine.find("libary")
    assert (found.total.value, found.meta.corrections) == (6, [])
    await engine.bring([{"id": number, "body": "else"} for number in range(8, 14)])
    assert (await engine.find("libary")).meta.corrections == [Correction("libary", ["library"])]
