"""The words and domains that Postgres groups by are those that Python finds."""

import random
import sys
import unicodedata

import asyncpg
import pytest

from services.analytics import group_keys
from shared.catalog import rollup
from shared.catalog.rollup import Rollup
from shared.search import tokenizer
from tests.stack import ROOT

LETTERS = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
TRICKY = [
    "\u039f\u0394\u039f\u03a3 \u03a3 \u0391\u03a3\u0391 \u0391\u03a3.\u03a3 \u0391\u03a3\u0301 \u03a3\u0301\u0391",
    "Caf\u00e9 cafe\u0301 \u0130stanbul I\u0307 \u01f0 J\u030c \u00bd\u00b2 foo_bar a\u200db \u24b6 \u1e9e \u01c5",
    "\u0928\u092e\u0938\u094d\u0924\u0947 it's don\u2019t [x] \\d (y) ^z$",
    "x" * 1000 + " y",
    "x " * 20_000 + "late",
    "",
]


def made_up(chance: random.Random) -> list[str]:
    """Of letters, and of what has something to do with its neighbours when it is lowered or composed."""
    known = [letter for letter in LETTERS if tokenizer.WORD.fullmatch(letter)]
    among = "\u03a3\u03c3\u03c2\u0130\u0131I\u0307\u0301 .,'-\u00b7:"
    return ["".join(chance.choice(chance.choice((known, among))) for _ in range(12)) for _ in range(5000)]


async def grouped(url: str, group: str, texts: list[str]) -> list[set[str]]:
    """What each text belongs to."""
    kept = Rollup(name="r", group_by=(group,), measures={"n": "count"})
    rows = group_keys.source(kept, "unnest($1::text[]) WITH ORDINALITY AS x (text, number)")
    db = await asyncpg.connect(url)
    found = await db.fetch(f"SELECT x.number, {group_keys.columns(kept)} FROM {rows}", texts, timeout=300)
    await db.close()
    result = [set[str]() for _ in texts]
    for number, key in found:
        assert key not in result[number - 1]
        result[number - 1].add(key)
    return result


@pytest.mark.parametrize("kind", ["letters", "tricky", "pages"])
async def test_words_are_those_of_search(database: dict[str, str], kind: str) -> None:
    if kind == "letters":
        texts = [" ".join(LETTERS[start : start + 1000]) for start in range(0, len(LETTERS), 1000)]
    elif kind == "tricky":
        texts = TRICKY + made_up(random.Random(1))
    else:
        texts = [path.read_text() for path in sorted(ROOT.glob("docs/**/*.md"))]
    assert await grouped(database["analytics"], "word(text)", texts) == [
        set(tokenizer.tokenize(text)) for text in texts
    ]
    assert any(unicodedata.normalize("NFC", text) != text for text in TRICKY)


def test_a_word_has_room_in_the_key_of_a_group() -> None:
    assert rollup.LONGEST_WORD == tokenizer.MAX_WORD_LENGTH


async def test_a_domain_is_what_stands_behind_the_last_at(database: dict[str, str]) -> None:
    domains = {
        "Ada@Example.ORG": "example.org",
        '"a@b"@c.d': "c.d",
        "a@": None,
        "@x": "x",
        "nobody": None,
        "": None,
        "a@B\u00dcCHER.example\n": "b\u00fccher.example\n",
        "a%b_c@d": "d",
    }
    assert await grouped(database["analytics"], "domain(text)", [*domains]) == [{domain} for domain in domains.values()]
