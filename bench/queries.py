"""The fixed mix of search queries, by kind. An engine may not support every kind."""

from itertools import chain

import msgspec
import numpy as np

from bench.documents import COMMON, OFTEN, PHRASES, SELDOM, SOMETIMES, vocabulary

WARMING, COUNTED = 5, 40
"""Queries of each kind: first those that warm up, then those that are measured. No query is repeated."""
PER_KIND = WARMING + COUNTED
SHORTEST_TYPO = 7
KINDS = {
    "rare": "a rare word",
    "common": "a word in 80 % of documents",
    "two": "two words",
    "phrase": "a phrase",
    "exact and": "exact words, and",
    "exact or": "exact words, or",
    "prefix": "a prefix",
    "typo": "a typo",
    "filter": "filter and facet",
}


Parameters = list[tuple[str, str | int | float | bool | None]]


class SearchQuery(msgspec.Struct, frozen=True):
    """A query of one kind; a `filter` query matches prices less than `below`, and counts hits by category."""

    kind: str
    words: tuple[str, ...]
    below: int = 0
    warming: bool = False

    @property
    def parameters(self) -> Parameters:
        """Returns the query parameters of `GET …/search`."""
        q = " ".join(self.words)
        match self.kind:
            case "phrase":
                return [("q", f'"{q}"')]
            case "prefix":
                return [("q", f"{q}*")]
            case "exact and" | "exact or":
                return [*(("words", word) for word in self.words), ("operator", self.kind.split()[1])]
            case "filter":
                return [("q", q), ("price", f"lt.{self.below}"), ("facets", "category")]
            case _:
                return [("q", q)]


def build_queries() -> list[SearchQuery]:
    """Returns the queries, with kinds alternating."""
    words = vocabulary()
    mixed = [(OFTEN[n % 8], SOMETIMES[(n // 8) % 8]) for n in range(PER_KIND)]
    word_lists: dict[str, list[tuple[str, ...]]] = {
        "rare": [(words[-1 - 400 * n],) for n in range(PER_KIND)],
        "common": [(_mixed_case(COMMON[n % 4], n // 4),) for n in range(PER_KIND)],
        "two": [(OFTEN[n % 8], words[50 + 40 * n]) for n in range(PER_KIND)],
        "phrase": list(PHRASES[:PER_KIND]),
        "exact and": [(*pair, words[n]) if n % 3 == 0 else pair for n, pair in enumerate(mixed)],
        "exact or": [
            (*pair, words[n]) if n % 3 == 0 else (pair[1], SELDOM[n % 8], words[100 + n])
            for n, pair in enumerate(mixed)
        ],
        "prefix": [(prefix,) for prefix in _prefixes()],
        "typo": [(word,) for word in _typos()],
        "filter": [((OFTEN, SOMETIMES)[n % 2][n % 8],) for n in range(PER_KIND)],
    }
    assert word_lists.keys() == KINDS.keys()
    rows = [
        [
            SearchQuery(kind, each[n], 40 + 20 * n if kind == "filter" else 0, n < WARMING)
            for kind, each in word_lists.items()
        ]
        for n in range(PER_KIND)
    ]
    return list(chain.from_iterable(rows))


def _mixed_case(word: str, number: int) -> str:
    """Returns one of the upper and lower case variants of a word."""
    return "".join(letter.upper() if number >> at & 1 else letter for at, letter in enumerate(word))


def _prefixes() -> list[str]:
    """Returns distinct prefixes of three to five letters."""
    words = vocabulary()
    cut = (words[rank][: 3 + n % 3] for n, rank in enumerate(range(30, len(words), 150)))
    return list(dict.fromkeys(cut))[:PER_KIND]


def _typos() -> list[str]:
    """Returns words with two letters swapped, one omitted or one replaced, that are not words themselves."""
    words, known = vocabulary(), frozenset(vocabulary())
    long = [word for word in words[200:20_000:50] if len(word) >= SHORTEST_TYPO]
    places = np.random.default_rng(3).integers(1, SHORTEST_TYPO - 2, len(long)).tolist()
    typos = []
    for n, (word, at) in enumerate(zip(long, places, strict=True)):
        wrong = (word[at + 1] + word[at], word[at + 1], "x" + word[at + 1])[n % 3]
        typos.append(word[:at] + wrong + word[at + 2 :])
    return [typo for typo in dict.fromkeys(typos) if typo not in known][:PER_KIND]
