"""Generates the documents for search measurements: `id,category,price,body`, 30 to 50 words, the same every time.

Words are invented. Their frequencies follow Zipf's law, flattened at the top; English endings give the stemmer families
to merge; the order is random. Some words occur in a known share of the documents, and some pairs of them as phrases.
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
"""Set fewer to test a measurement; its figures are then meaningless."""
ROWS_AT_ONCE = 50_000
SHORTEST, LONGEST = 30, 50

CONSONANTS, VOWELS, LAST = "bdfghjklmnprstvz", "aiou", "klmnpr"
STEMS = {2: 2_000, 3: 11_000, 4: 12_000}
"""Number of stems by number of syllables; frequent words are short."""
ENDINGS = {"": 1.0, "s": 2.5, "ed": 4.0, "ing": 6.0}
"""Endings, and how much rarer the word with the ending is than its stem."""
FLATTENED = 40
"""Ranks by which Zipf's law is shifted: the most frequent generated word is in every tenth document."""

# The most frequent words have entries in the sandbox's dictionary.
COMMON = ("river", "water", "stone", "market")
OFTEN = ("harbour", "lantern", "canal", "grain", "farmer", "barge", "baker", "wheel")
SOMETIMES = ("tafodol", "mugarip", "zilotun", "bovidam", "hanurik", "pojamol", "sudifar", "vakogin")
SELDOM = ("ridopak", "gomatuk", "fuzilon", "jabovim", "lokisur", "nidahup", "dotuvan", "kipazor")
# The share of documents that contain each word. Phrases raise the words of OFTEN to 30 %.
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
    "title": "Benchmark documents",
    "primary_key": ["id"],
    "fields": FIELDS,
    "search": {"fields": ["body"], "language": "english"},
}


@cache
def vocabulary() -> tuple[str, ...]:
    """Returns the generated words, the most frequent first."""
    numbers = np.random.default_rng(1)
    stems: list[str] = []
    for syllables, many in STEMS.items():
        drawn = (_stem(numbers, syllables) for _ in iter(int, 1))
        seen: set[str] = set(SOMETIMES + SELDOM)
        while len(seen) < many + len(SOMETIMES + SELDOM):
            if (stem := next(drawn)) not in seen:
                seen.add(stem)
                stems.append(stem)
    ranked = [(rank * rarer, stem + ending) for rank, stem in enumerate(stems, 1) for ending, rarer in ENDINGS.items()]
    return tuple(word for _, word in sorted(ranked))


def write(path: Path, rows: int) -> None:
    """Writes documents 1, 2, 3 … without a header."""
    with path.open("w") as file:
        for batch in batches(rows):
            file.writelines(f"{number},{category},{price},{body}\n" for number, category, price, body in batch)


def batches(rows: int) -> Iterator[Iterator[tuple[int, str, float, str]]]:
    """Yields the documents in batches. A shorter file is always the beginning of a longer one."""
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
    """Returns the length of each document, and its words as numbers, padded to the longest."""
    at = {word: number for number, word in enumerate(words)}
    shape = (ROWS_AT_ONCE, LONGEST)
    lengths = numbers.integers(SHORTEST, LONGEST + 1, ROWS_AT_ONCE)
    rarity = np.cumsum(1 / (np.arange(len(words) - len(SHARES)) + 1 + FLATTENED))
    bodies = np.searchsorted(rarity, numbers.random(shape) * rarity[-1]).clip(max=rarity.size - 1)
    # Words with a known share come first; then the words of each document are shuffled.
    chosen = numbers.random((ROWS_AT_ONCE, len(SHARES))) < np.array(list(SHARES.values()))
    rows, which = np.nonzero(chosen)
    bodies[rows, (np.cumsum(chosen, axis=1) - 1)[rows, which]] = np.array([at[word] for word in SHARES])[which]
    places = numbers.random(shape) + (np.arange(LONGEST) >= lengths[:, None])
    bodies = np.take_along_axis(bodies, np.argsort(places, axis=1), axis=1)
    rows, which = np.nonzero(numbers.random((ROWS_AT_ONCE, len(PHRASES))) < PHRASE_SHARE)
    place = (numbers.random(rows.size) * (lengths[rows] - 1)).astype(int)
    phrases = np.array([[at[word] for word in phrase] for phrase in PHRASES])[which]
    bodies[rows, place], bodies[rows, place + 1] = phrases[:, 0], phrases[:, 1]
    return lengths, iter(bodies.tolist())
