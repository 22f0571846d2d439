"""Searches find what a brute force finds: exact words, the grammar of `q`, fields; any text is a valid query."""

import random
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.search import expand, suggestions, tokenizer, vocabulary
from tests.integration import search_oracle
from tests.integration.job_stories import EXAMPLES
from tests.integration.search_oracle import DrawnQuery, Stems
from tests.integration.search_setup import REPLACE, SEARCH, SearchEngine, books

FIVE = ("title", "body", "more", "notes", "rest")
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
OPERATORS = st.text("ab \"'\\&|!<>-:*()@#%_\0\n\u0301\u202eé漢🙂שׁ", max_size=40)


@pytest.fixture
async def nasty(engine: SearchEngine, monkeypatch: pytest.MonkeyPatch) -> tuple[SearchEngine, list[dict[str, Any]]]:
    """Some prefixes are searched by their words, and those of more words as prefixes."""
    monkeypatch.setattr(expand, "MIN_DOCUMENTS_PER_WORD", 0)
    monkeypatch.setattr(vocabulary, "MAX_PREFIX_VARIANTS", 4)
    await engine.declare(SEARCH)
    rows = search_oracle.rows(random.Random(4), 300, ("title", "body"))
    await engine.bring(rows)
    return engine, rows


async def test_exact_words_are_those_that_a_regular_expression_finds(
    nasty: tuple[SearchEngine, list[dict[str, Any]]],
) -> None:
    engine, rows = nasty
    chance = random.Random(5)
    known = sorted({unicodedata.normalize("NFC", word) for word in search_oracle.WORDS if re.fullmatch(r"\w+", word)})
    hits = 0
    for number in range(300):
        query = tuple(chance.sample([*known, "absent"], chance.randint(1, 3)))
        operator = chance.choice(["and", "or"])
        joined = all if operator == "and" else any
        expected = [
            row["id"]
            for row in rows
            if joined(search_oracle.stands_in(w, f"{row.get('title') or ''}\n{row.get('body') or ''}") for w in query)
        ]
        found = await engine.find(words=query, operator=operator, limit=7, sort="id")
        assert (found.total.value, found.total.relation) == (len(expected), "eq"), query
        assert found.meta.corrections == []
        everywhere = await engine.ids(words=query, operator=operator, limit=300)
        assert sorted(everywhere) == expected, (number, query, operator)
        hits += len(expected)
    assert hits > 1000


@EXAMPLES
@given(data=st.data())
async def test_a_question_finds_what_its_grammar_says(
    nasty: tuple[SearchEngine, list[dict[str, Any]]], data: st.DataObject
) -> None:
    engine, rows = nasty
    stems = await Stems.read(engine.indexer.admin, "english_stem", search_oracle.WORDS)
    for _ in range(12):
        query: DrawnQuery = data.draw(search_oracle.queries())
        expected = [row["id"] for row in rows if query.holds([row.get("title"), row.get("body")], stems)]
        assert sorted(await engine.ids(query.q, limit=300)) == expected, query.q
        assert (await engine.find(query.q, typos=False)).total.value == len(expected)


@EXAMPLES
@given(data=st.data())
async def test_fields_that_are_not_searched_neither_find_nor_exclude(engine: SearchEngine, data: st.DataObject) -> None:
    if not engine.declared:
        await engine.declare({"fields": list(FIVE), "language": "french"})
        await engine.bring(search_oracle.rows(random.Random(6), 150, FIVE))
    stems = await Stems.read(engine.indexer.admin, "french_stem", search_oracle.WORDS)
    rows = {row["id"]: row for row in search_oracle.rows(random.Random(6), 150, FIVE)}
    for _ in range(8):
        fields = data.draw(st.sets(st.sampled_from(FIVE[:3])))
        fields |= data.draw(st.sampled_from([{"notes", "rest"}, set()])) if fields else {"notes", "rest"}
        query: DrawnQuery = data.draw(search_oracle.queries())
        expected = [number for number, row in rows.items() if query.holds([row.get(f) for f in fields], stems)]
        assert sorted(await engine.ids(query.q, fields=tuple(sorted(fields)))) == expected, (query.q, fields)


@EXAMPLES
@given(q=ANY | OPERATORS)
@example("a <-> b & !c:* | 'd' \\")
@example("-" * 900)
@example('"' * 999)
@example("a-" * 499)
@example("* -* \"*\" a* -a* :* ':*'")
@example("e\u0301" * 300)
@example("ﷺ" * 300)
@example("x" * 3000)
@example(" ".join(f"w{number}*" for number in range(200)))
@example("İ ﬀ ǰ \u1e9e ς Σ")
async def test_any_text_is_a_question(nasty: tuple[SearchEngine, list[dict[str, Any]]], q: str) -> None:
    engine, _ = nasty
    for query in ({"q": q}, {"words": (q,)}, {"words": tuple(q.split(" "))[:32], "operator": "or"}):
        found = await engine.find(**query, highlight=("body",), facets=("kind",), limit=200, fields=("body",))
        assert found.meta.complete
        assert found.meta.seconds < 1
        assert (found.total.value, found.total.relation) == (len(found.data), "eq") or found.next
    async with engine.gateway.acquire() as db:
        suggested = await suggestions.suggest(db, "books", q, 10)
    # What is suggested is found.
    for one in suggested[:3]:
        assert one.documents > 0
        assert one.q.endswith(one.word)
        assert await engine.ids(words=(one.word,))


TEXTS = st.lists(ANY | OPERATORS, min_size=1, max_size=5)


@EXAMPLES
@given(texts=TEXTS)
@example(["ﷺ" * 300, "𒀀" * 300, "ǰ J̌", "\u0345\u0391"])
@example(["İstanbul ISTANBUL \u0131stanbul", "Ǆ ǅ ǆ", "\u0391Σ'\u0391 ας"])
async def test_any_text_can_be_found_by_its_own_words(engine: SearchEngine, texts: list[str]) -> None:
    if not engine.declared:
        await engine.declare(SEARCH)
    cleaned = [text.replace("\0", "") for text in texts]
    rows = books(cleaned)
    await engine.bring(rows, REPLACE)
    for number, text in enumerate(cleaned, 1):
        for piece in text.replace('"', " ").split()[:4]:
            if not tokenizer.tokenize(piece):
                continue
            for form in {piece, unicodedata.normalize("NFD", piece), unicodedata.normalize("NFC", piece)}:
                assert number in await engine.ids(f'"{form}"'), (form, text)
                assert number in await engine.ids(words=(form,)), (form, text)
            marked = (await engine.find(words=(piece,), where={"id": f"eq.{number}"}, highlight=("body",))).data[0]
            assert "<mark>" in "".join(marked.highlight["body"])


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("J\u030curi", "\u01f0URI"),  # the capital has no letter of its own, the small one has
        ("\u212bngström\u212a", "ÅNGSTRÖMK"),
        ("Straẞe", "STRAẞE"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("नमस्ते", "नमस्ते"),
        ("İzmir", "i\u0307zmi\u0072"),
    ],
)
async def test_case_and_composition_make_no_difference(engine: SearchEngine, text: str, query: str) -> None:
    await engine.declare(SEARCH)
    await engine.bring(books([text, unicodedata.normalize("NFD", text), f"{text}x"]))
    assert await engine.ids(words=(query,)) == [1, 2]
    assert await engine.ids(words=(query,)) == await engine.ids(words=(unicodedata.normalize("NFD", query),))
    found = await engine.find(words=(query,), highlight=("body",))
    assert ["<mark>" in hit.highlight["body"][0] for hit in found.data] == [True, True]
