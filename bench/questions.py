"""The fixed mix: what is asked of every search, in kinds that an engine can answer or can't."""

from itertools import chain

import msgspec
import numpy as np

from bench.documents import COMMON, OFTEN, PHRASES, SELDOM, SOMETIMES, vocabulary

WARMING, COUNTED = 5, 40
"""Questions of each kind that are asked first and not counted; those that are. No question is asked twice."""
MANY = WARMING + COUNTED
SHORTEST_MISSPELT = 7
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


class Question(msgspec.Struct, frozen=True):
    """Words to be found as `kind` says; a `filter` wants what costs less than `below`, counted for each category."""

    kind: str
    words: tuple[str, ...]
    below: int = 0
    warming: bool = False

    @property
    def parameters(self) -> Parameters:
        """As `GET …/search` is asked."""
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


def questions() -> list[Question]:
    """Of each kind in turn."""
    words = vocabulary()
    mixed = [(OFTEN[n % 8], SOMETIMES[(n // 8) % 8]) for n in range(MANY)]
    wanted: dict[str, list[tuple[str, ...]]] = {
        "rare": [(words[-1 - 400 * n],) for n in range(MANY)],
        "common": [(_spelt(COMMON[n % 4], n // 4),) for n in range(MANY)],
        "two": [(OFTEN[n % 8], words[50 + 40 * n]) for n in range(MANY)],
        "phrase": list(PHRASES[:MANY]),
        "exact and": [(*pair, words[n]) if n % 3 == 0 else pair for n, pair in enumerate(mixed)],
        "exact or": [
            (*pair, words[n]) if n % 3 == 0 else (pair[1], SELDOM[n % 8], words[100 + n])
            for n, pair in enumerate(mixed)
        ],
        "prefix": [(prefix,) for prefix in _prefixes()],
        "typo": [(word,) for word in _misspelt()],
        "filter": [((OFTEN, SOMETIMES)[n % 2][n % 8],) for n in range(MANY)],
    }
    assert wanted.keys() == KINDS.keys()
    rows = [
        [Question(kind, each[n], 40 + 20 * n if kind == "filter" else 0, n < WARMING) for kind, each in wanted.items()]
        for n in range(MANY)
    ]
    return list(chain.from_iterable(rows))


def _spelt(word: str, number: int) -> str:
    """One of the ways in which a word can be written with large and small letters."""
    return "".join(letter.upper() if number >> at & 1 else letter for at, letter in enumerate(word))


def _prefixes() -> list[str]:
    """Of three to five letters, each once."""
    words = vocabulary()
    cut = (words[rank][: 3 + n % 3] for n, rank in enumerate(range(30, len(words), 150)))
    return list(dict.fromkeys(cut))[:MANY]


def _misspelt() -> list[str]:
    """Words with two letters exchanged, one left out, or another one instead, which are not words themselves."""
    words, known = vocabulary(), frozenset(vocabulary())
    long = [word for word in words[200:20_000:50] if len(word) >= SHORTEST_MISSPELT]
    places = np.random.default_rng(3).integers(1, SHORTEST_MISSPELT - 2, len(long)).tolist()
    typos = []
    for n, (word, at) in enumerate(zip(long, places, strict=True)):
        wrong = (word[at + 1] + word[at], word[at + 1], "x" + word[at + 1])[n % 3]
        typos.append(word[:at] + wrong + word[at + 2 :])
    return [typo for typo in dict.fromkeys(typos) if typo not in known][:MANY]
