"""Search oracle: texts with difficult words, generated queries, and a brute force that decides what they find.

Nothing here comes from `shared.search`: words come from Python's regular expressions, stems from Postgres.
"""

import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
from hypothesis import strategies as st

WORDS = (
    *("one", "none", "ones", "One", "run", "runs", "running", "ran", "the", "of", "not", "or", "and", "x"),
    *(
        "snake",
        "case",
        "snake_case",
        "_",
        "__init__",
        "42",
        "4",
        "4two",
        "2024",
        "e",
        "mail",
        "e-mail",
        "C++",
        "o'neill",
    ),
    *("café", "cafe", "cafés", "cafe\u0301", "naïve", "ŁÓDŹ", "łódź", "Zürich", "ZÜRICH", "straße", "STRASSE"),
    *("Привет", "приветы", "ПРИВЕТ", "שלום", "日本", "日本語", "Σοφια", "σοφια", "don't", "don\u2019t", "well-known"),
)
BETWEEN = (" ", " ", " ", ", ", ". ", " - ", "\n", "\t", "/", " & ", " <", "> ", "…", "\u00a0", ' "', "' ", " (", "|")


def text(chance: random.Random, most: int = 12) -> str:
    """Of some words with anything between them."""
    found = "".join(chance.choice(WORDS) + chance.choice(BETWEEN) for _ in range(chance.randint(0, most)))
    return found.strip()


def stands_in(word: str, text: str) -> bool:
    """As it is, and whole."""
    plain, composed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFC", word)
    return re.search(rf"(?<!\w){re.escape(composed)}(?!\w)", plain, re.IGNORECASE) is not None


def tokens(text: str | None) -> list[str]:
    """The words of a text, in order."""
    return re.findall(r"\w+", unicodedata.normalize("NFC", text or "").lower())


class Stems:
    """Of all words that are known beforehand, in one language."""

    def __init__(self, of: Mapping[str, str]) -> None:
        self._of = of

    @classmethod
    async def read(cls, db: asyncpg.Connection, dictionary: str, words: Iterable[str]) -> "Stems":
        bare = {word: _bare(word) for found in words for word in tokens(found)}
        rows = await db.fetch(
            "SELECT w, (ts_lexize($2::text::regdictionary, w))[1] AS stem FROM unnest($1::text[]) w",
            list(set(bare.values())),
            dictionary,
        )
        stems = {row["w"]: row["stem"] or row["w"] for row in rows}
        return cls({word: stems[plain] for word, plain in bare.items()})

    def same(self, one: str, other: str) -> bool:
        """Words that nobody knew are their own stems."""
        return self._of.get(one, one) == self._of.get(other, other)


def _bare(word: str) -> str:
    apart = unicodedata.normalize("NFD", word)
    kept = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", kept).casefold()


class Term(msgspec.Struct, frozen=True):
    """How it is written, and whether a field of these words has it."""

    written: str
    holds: Callable[[list[str], Stems], bool]


class DrawnQuery(msgspec.Struct, frozen=True):
    """Clauses of which any must hold: terms that must and must not stand in a row."""

    clauses: list[tuple[list[Term], list[Term]]]
    q: str

    def holds(self, fields: Sequence[str | None], stems: Stems) -> bool:
        """For a row with these texts."""
        split = [tokens(one) for one in fields]

        def has(term: Term) -> bool:
            return any(term.holds(field, stems) for field in split)

        return any(all(map(has, wanted)) and not any(map(has, unwanted)) for wanted, unwanted in self.clauses)


def _phrase(words: list[str]) -> Callable[[list[str], Stems], bool]:
    def holds(field: list[str], stems: Stems) -> bool:
        places = range(len(field) - len(words) + 1)
        return any(all(stems.same(a, b) for a, b in zip(words, field[at:], strict=False)) for at in places)

    return holds


def _beginning(words: list[str]) -> Callable[[list[str], Stems], bool]:
    *whole, last = words
    before = _phrase(whole)

    def holds(field: list[str], stems: Stems) -> bool:
        begins = [at for at, word in enumerate(field) if word.startswith(last) and at >= len(whole)]
        return any(not whole or before(field[at - len(whole) : at], stems) for at in begins)

    return holds


@st.composite
def terms(draw: st.DrawFn) -> Term:
    """A word, a phrase, or a beginning."""
    kind = draw(st.sampled_from(["word", "word", "phrase", "prefix"]))
    if kind == "word":
        word = draw(st.sampled_from([word for word in WORDS if word not in ("or", "C++")]))
        return Term(word, _phrase(tokens(word)))
    if kind == "phrase":
        found = " ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)))
        return Term(f'"{found}"', _phrase(tokens(found)))
    word = draw(st.sampled_from([word for word in WORDS if re.search(r"\w$", word) and word != "or"]))
    beginning = unicodedata.normalize("NFC", word)[: draw(st.integers(1, 4))].rstrip("-'\u2019+")
    return Term(f"{beginning}*", _beginning(tokens(beginning)))


@st.composite
def queries(draw: st.DrawFn) -> DrawnQuery:
    """In the grammar of the web."""
    clauses, written = [], []
    for _ in range(draw(st.integers(1, 3))):
        wanted = draw(st.lists(terms(), min_size=0, max_size=3))
        unwanted = draw(st.lists(terms(), min_size=0 if wanted else 1, max_size=2))
        clauses.append((wanted, unwanted))
        pieces = [term.written for term in wanted] + [f"-{term.written}" for term in unwanted]
        written.append(draw(st.sampled_from([" ", "  ", " & ", " | ", "\t"])).join(draw(st.permutations(pieces))))
    return DrawnQuery(clauses, draw(st.sampled_from([" or ", " OR ", "  Or "])).join(written))


def rows(chance: random.Random, count: int, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Numbered from 1; some fields are missing."""
    return [
        {"id": number, **{name: text(chance) or None for name in fields if chance.random() < 0.8}}
        for number in range(1, count + 1)
    ]
