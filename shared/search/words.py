"""What a word is: a run of letters, digits and underscores, as Unicode has them, in NFC and lower case. Pure."""

import unicodedata
from collections.abc import Sequence

import polars as pl

WORD = r"\w+"
LONGEST_WORD = 200
"""Characters; what is longer is known by its beginning. An entry of a B-tree has no room for more."""
MOST_WORDS = 16_383
"""Of a text that are indexed: Postgres knows no later positions in a document."""


def split(texts: pl.Series) -> pl.Series:
    """The words of each text, in order; none of a null."""
    # Composed last: some small letters have a form with their accent where the capital has none.
    words = texts.str.to_lowercase().str.normalize("NFC").str.extract_all(WORD).list.head(MOST_WORDS)
    return words.list.eval(pl.element().str.slice(0, LONGEST_WORD))


def of(text: str) -> list[str]:
    """The words of one text, in order."""
    words: list[str] = split(pl.Series([text], dtype=pl.String)).to_list()[0]
    return words


def places(text: str) -> list[tuple[int, int, str]]:
    """Where words stand in a text that is in NFC: begin, end, and the word as `of` gives it."""
    found, at = [], 0
    written = pl.Series([text], dtype=pl.String).str.extract_all(WORD)
    lowered = written.list.eval(pl.element().str.to_lowercase().str.normalize("NFC").str.slice(0, LONGEST_WORD))
    for one, word in zip(written.to_list()[0], lowered.to_list()[0], strict=True):
        at = text.index(one, at)
        found.append((at, at + len(one), word))
        at += len(one)
    return found


def folded(words: Sequence[str]) -> list[str]:
    """Without accents: `café` as `cafe`, so that either is found by the other."""
    return [word if word.isascii() else _fold(word) for word in words]


def _fold(word: str) -> str:
    apart = unicodedata.normalize("NFKD", word)
    # Accents alone: in other scripts a combining mark is part of the letter.
    bare = "".join(letter for letter in apart if not "\u0300" <= letter <= "\u036f")
    # A single letter may come apart into many.
    return unicodedata.normalize("NFC", bare).casefold()[:LONGEST_WORD] or word
