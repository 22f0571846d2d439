"""Totals, facets and completeness of a search: correct on every path, for few hits, many, and very frequent words."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shared.search import execute, limits, results
from shared.search.plan import SearchPlan
from shared.search.query import SearchResults
from tests.integration import search_oracle
from tests.integration.search_setup import SEARCH, SearchEngine

ROWS = 400
KINDS = ("red", "green", "blue", "None", None)
SMALL = {"MAX_RANKED": 60, "MAX_EXAMINED": 90, "ENOUGH_HITS": 20, "FREQUENT_RATIO": 20}
TIGHT = {"MAX_RANKED": 5, "MAX_EXAMINED": 10, "ENOUGH_HITS": 5, "FREQUENT_RATIO": 1}
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"kind": "eq.red"},
    {"price": "gte.50"},
    {"kind": "in.(green,blue)", "price": "lt.30"},
    {"or": "(kind.is.null,price.is.null)"},
    {"id": "lt.0"},
)
Holds = Callable[[set[str], str], bool]
QUESTIONS: tuple[tuple[dict[str, Any], Holds], ...] = (
    ({"q": ""}, lambda _words, _text: True),
    ({"q": "everywhere"}, lambda words, _: "everywhere" in words),
    ({"q": "everywhere -one"}, lambda words, _: "everywhere" in words and "one" not in words),
    ({"q": "everywhere one"}, lambda words, _: {"everywhere", "one"} <= words),
    ({"q": '"everywhere one"'}, lambda _, text: "everywhere one" in text),
    ({"q": 'two -"everywhere one"'}, lambda words, text: "two" in words and "everywhere one" not in text),
    ({"q": "one or two or absent"}, lambda words, _: bool({"one", "two"} & words)),
    ({"q": "-everywhere"}, lambda words, _: "everywhere" not in words),
    ({"q": "everyw*"}, lambda words, _: "everywhere" in words),
    ({"q": "rare"}, lambda words, _: "rare" in words),
    ({"q": "rare one"}, lambda words, _: {"rare", "one"} <= words),
    ({"words": ("everywhere",)}, lambda words, _: "everywhere" in words),
    ({"words": ("one", "two"), "operator": "or"}, lambda words, _: bool({"one", "two"} & words)),
    ({"words": ("absent",)}, lambda _words, _text: False),
    ({"words": ("everywhere",), "fields": ("title",)}, lambda words, _: "everywhere" in words),
    ({"q": "-one everywhere", "fields": ("body",)}, lambda words, _: "everywhere" in words and "one" not in words),
)


def shelved(chance: random.Random) -> list[dict[str, Any]]:
    """A word in nearly all, some in many, one in a few."""
    rows = []
    for number in range(1, ROWS + 1):
        words = ["everywhere"] * (chance.random() < 0.9) + [w for w in ("one", "two", "three") if chance.random() < 0.4]
        words += ["rare"] * (number % 80 == 0)
        chance.shuffle(words)
        title = " ".join(words) if chance.random() < 0.3 else None
        body = None if title else " ".join(words) or None
        price = chance.choice([None, chance.randint(0, 99)])
        rows.append({"id": number, "title": title, "body": body, "kind": chance.choice(KINDS), "price": price})
    return rows


def has(row: dict[str, Any], query: dict[str, Any], holds: Holds) -> bool:
    """Whether the row has the words, by brute force."""
    text = " . ".join(row[name] or "" for name in query.get("fields", ("title", "body")))
    return holds(set(search_oracle.tokens(text)), text)


def meets(row: dict[str, Any], where: dict[str, str]) -> bool:
    kind, price = row["kind"], row["price"]
    met: tuple[bool, ...] = (
        True,
        kind == "red",
        price is not None and price >= 50,
        kind in ("green", "blue") and price is not None and price < 30,
        kind is None or price is None,
        False,
    )
    return met[FILTERS.index(where)]


def honest(found: SearchResults, expected: list[dict[str, Any]]) -> None:
    """Checks totals, hits and facets against the expected rows."""
    total = found.total
    assert total.value == len(expected) if total.relation == "eq" else total.value <= len(expected)
    ids = {row["id"] for row in expected}
    assert all(hit.row["id"] in ids for hit in found.data)
    assert len(found.data) >= min(total.value, 20) or found.meta.detail.startswith("Pages by relevance end after")
    for name, facet in found.facets.items():
        real = Counter(row[name] for row in expected)
        counts = {value.value: value.count for value in facet.values}
        assert facet.counted == sum(counts.values()) + facet.other_count
        if facet.approximate:
            assert all(count <= real[value] for value, count in counts.items())
        else:
            assert (counts, facet.other_count) == (dict(real), 0)


@pytest.fixture
async def many(engine: SearchEngine) -> tuple[SearchEngine, list[dict[str, Any]]]:
    await engine.declare(SEARCH)
    rows = shelved(random.Random(9))
    await engine.bring(rows, chunk_bytes=1 << 20)
    await engine.indexer.admin.execute("ANALYZE")
    return engine, rows


@pytest.fixture(params=[{}, SMALL, TIGHT], ids=["as they are", "small", "tight"])
def tight_limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    for name, value in request.param.items():
        monkeypatch.setattr(limits, name, value)
    given: dict[str, int] = request.param
    return given


async def test_totals_and_facets_are_as_exact_as_they_claim(
    many: tuple[SearchEngine, list[dict[str, Any]]], tight_limits: dict[str, int]
) -> None:
    engine, rows = many
    relations: Counter[str] = Counter()
    for where in FILTERS:
        for query, holds in QUESTIONS:
            expected = [row for row in rows if has(row, query, holds) and meets(row, where)]
            for sort in ("", "price.desc"):
                for exact in (False, True):
                    found = await engine.find(
                        **query, where=where, sort=sort, exact_total=exact, facets=("kind", "price"), limit=20
                    )
                    combination = (query, where, sort, exact)
                    try:
                        honest(found, expected)
                        assert found.meta.complete
                        assert found.total.relation == "eq" if exact or not tight_limits else True
                    except AssertionError as error:
                        raise AssertionError(combination) from error
                    relations[found.total.relation] += 1
                    relations["approximate"] += found.facets["kind"].approximate
    if tight_limits:
        assert min(relations["gte"], relations["approximate"], relations["eq"]) > 10
    else:
        assert set(relations) - {"approximate"} == {"eq"}
        assert relations["approximate"] == 0


async def test_missing_values_and_the_text_none_are_distinguished(engine: SearchEngine) -> None:
    await engine.declare(SEARCH)
    await engine.bring([{"id": 1, "kind": "None"}, {"id": 2}])
    facet = (await engine.find(facets=("kind",))).facets["kind"]
    assert [(value.value, value.count) for value in facet.values] == [("None", 1), (None, 1)]


@pytest.mark.parametrize("query", [{"q": "everywhere"}, {"q": ""}, {"q": "rare one", "sort": "price"}])
async def test_a_search_that_waits_for_the_rows_reports_it_within_the_budget(
    many: tuple[SearchEngine, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, query: dict[str, Any]
) -> None:
    engine, rows = many
    holds = {combination["q"]: holds for combination, holds in QUESTIONS if "q" in combination}[query["q"]]
    monkeypatch.setattr(limits, "BUDGET_SECONDS", 0.1)
    async with engine.indexer.admin.transaction():
        await engine.indexer.admin.execute("LOCK data.books")
        found = await engine.find(**query, facets=("kind",), exact_total=True)
    assert (found.data, found.next, found.meta.complete) == ([], None, False)
    # The vocabulary knows how many documents have a word, and the documents how many have two.
    total = sum(has(row, query, holds) for row in rows)
    assert (found.total.value, found.total.relation) in ((total, "eq"), (0, "gte"))
    assert "Time ran out" in found.meta.detail
    assert (found.facets["kind"].values, found.facets["kind"].approximate) == ([], True)
    assert found.meta.seconds < 1


async def test_what_was_found_stands_when_there_is_no_time_to_look_for_more(
    many: tuple[SearchEngine, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, rows = many
    for name, value in SMALL.items():
        monkeypatch.setattr(limits, name, value)
    settings = execute.planner_settings

    def slow(plan: SearchPlan, *, bounded: bool) -> str:
        """Looking at all documents takes longer than it may."""
        return settings(plan, bounded=bounded) + ("" if bounded else "SELECT pg_sleep(20)")

    monkeypatch.setattr(execute, "planner_settings", slow)
    monkeypatch.setattr(limits, "BUDGET_SECONDS", 0.5)
    expected = [row for row in rows if "everywhere one" in f"{row['title']} . {row['body']}"]
    found = await engine.find('"everywhere one"', sort="price", exact_total=True, limit=20)
    assert (found.meta.complete, found.total.relation) == (False, "gte")
    assert 0 < len(found.data) <= found.total.value < len(expected)
    assert {hit.row["id"] for hit in found.data} <= {row["id"] for row in expected}
    assert results.TIMED_OUT in found.meta.detail
    assert found.meta.seconds < 2
