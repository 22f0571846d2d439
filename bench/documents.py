"""The documents that search is measured with: `id,category,price,body`, 30 to 50 words each, the same every time.

Words are made up, as unequally frequent as in a language (after Zipf, flattened at the top), end as English ones do, so
that stemming has families to bring together, and stand in any order. Some stand in a share of the documents that is
known, and some pairs of those beside each other.
"""

import os
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = int(os.environ.get("BENCH_DOCUMENTS", "1000000"))
"""Fewer are good for trying whether a measurement works, not for its figures."""
ROWS_AT_ONCE = 50_000
SHORTEST, LONGEST = 30, 50

CONSONANTS, VOWELS, LAST = "bdfghjklmnprstvz", "aiou", "klmnpr"
STEMS = {2: 2_000, 3: 11_000, 4: 12_000}
"""How many stems have so many syllables; frequent words are short."""
ENDINGS = {"": 1.0, "s": 2.5, "ed": 4.0, "ing": 6.0}
"""And how much rarer a word with the ending is than its stem."""
FLATTENED = 40
"""By so many ranks: the most frequent of these words is in every tenth document, fewer than have those below."""

# The most frequent words are some that the sandbox's dictionary knows.
COMMON = ("river", "water", "stone", "market")
OFTEN = ("harbour", "lantern", "canal", "grain", "farmer", "barge", "baker", "wheel")
SOMETIMES = ("tafodol", "mugarip", "zilotun", "bovidam", "hanurik", "pojamol", "sudifar", "vakogin")
SELDOM = ("ridopak", "gomatuk", "fuzilon", "jabovim", "lokisur", "nidahup", "dotuvan", "kipazor")
# The share of documents in which each is put. Phrases bring what is often to 30 %.
SHARES = dict.fromkeys(COMMON, 0.8) | dict.fromkeys(OFTEN, 0.2) | dict.fromkeys(SOMETIMES, 0.05)
SHARES |= dict.fromkeys(SELDOM, 0.005)
PHRASES = tuple(permutations(OFTEN, 2))[:50]
PHRASE_SHARE = 0.01
CATEGORIES = tuple(f"category {letter}" for letter in "abcdefghijklmnopqrst")

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "category", "type": "string", "required": True},
    {"name": "price", "type": "number", "required": True},
    {"name": "body", "type": "string", "required": True},
]
DECLARATION: dict[str, Any] = {
    "title": "Documents to measure with",
    "primary_key": ["id"],
    "fields": FIELDS,
    "search": {"fields": ["body"], "language": "english"},
}


@cache
def vocabulary() -> tuple[str, ...]:
    """The words that are not put in by share, the most frequent first."""
    numbers = np.random.default_rng(1)
    stems: list[str] = []
    for syllables, many in STEMS.items():
        drawn = (_stem(numbers, syllables) for _ in iter(int, 1))
        found: set[str] = set(SOMETIMES + SELDOM)
        while len(found) < many + len(SOMETIMES + SELDOM):
            if (stem := next(drawn)) not in found:
                found.add(stem)
                stems.append(stem)
    ranked = [(rank * rarer, stem + ending) for rank, stem in enumerate(stems, 1) for ending, rarer in ENDINGS.items()]
    return tuple(word for _, word in sorted(ranked))


def write(path: Path, rows: int) -> None:
    """A file of documents 1, 2, 3 …, without a header."""
    with path.open("w") as file:
        for piece in pieces(rows):
            file.writelines(f"{number},{category},{price},{body}\n" for number, category, price, body in piece)


def pieces(rows: int) -> Iterator[Iterator[tuple[int, str, float, str]]]:
    """The same documents, many at a time. Of two files the shorter one is the beginning of the longer one."""
    numbers = np.random.default_rng(2)
    words = vocabulary() + tuple(SHARES)
    for first in range(1, rows + 1, ROWS_AT_ONCE):
        lengths, bodies = _bodies(numbers, words)
        categories = (numbers.random(ROWS_AT_ONCE) ** 2 * len(CATEGORIES)).astype(int).tolist()
        prices = (numbers.integers(1, 100_000, ROWS_AT_ONCE) / 100).tolist()
        yield (
            (first + at, CATEGORIES[categories[at]], prices[at], " ".join([words[word] for word in body[:length]]))
            for at, (length, body) in enumerate(zip(lengths.tolist(), bodies, strict=True))
            if first + at <= rows
        )


def _stem(numbers: np.random.Generator, syllables: int) -> str:
    def of(letters: str) -> str:
        return letters[int(numbers.integers(len(letters)))]

    return "".join(of(CONSONANTS) + of(VOWELS) for _ in range(syllables)) + of(LAST)


def _bodies(numbers: np.random.Generator, words: tuple[str, ...]) -> tuple[NDArray[Any], Iterator[list[int]]]:
    """Lengths, and words by their number, of which so many as the length says count."""
    at = {word: number for number, word in enumerate(words)}
    shape = (ROWS_AT_ONCE, LONGEST)
    lengths = numbers.integers(SHORTEST, LONGEST + 1, ROWS_AT_ONCE)
    rarity = np.cumsum(1 / (np.arange(len(words) - len(SHARES)) + 1 + FLATTENED))
    bodies = np.searchsorted(rarity, numbers.random(shape) * rarity[-1]).clip(max=rarity.size - 1)
    # What is put in by share comes first, and then all words of a document are shuffled.
    put = numbers.random((ROWS_AT_ONCE, len(SHARES))) < np.array(list(SHARES.values()))
    rows, which = np.nonzero(put)
    bodies[rows, (np.cumsum(put, axis=1) - 1)[rows, which]] = np.array([at[word] for word in SHARES])[which]
    places = numbers.random(shape) + (np.arange(LONGEST) >= lengths[:, None])
    bodies = np.take_along_axis(bodies, np.argsort(places, axis=1), axis=1)
    rows, which = np.nonzero(numbers.random((ROWS_AT_ONCE, len(PHRASES))) < PHRASE_SHARE)
    place = (numbers.random(rows.size) * (lengths[rows] - 1)).astype(int)
    phrases = np.array([[at[word] for word in phrase] for phrase in PHRASES])[which]
    bodies[rows, place], bodies[rows, place + 1] = phrases[:, 0], phrases[:, 1]
    return lengths, iter(bodies.tolist())
