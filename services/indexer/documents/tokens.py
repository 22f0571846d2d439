"""What the words of rows make of them: where each stands in its document, and how often in all of them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.search import tokenizer

MOST_BYTES = 800_000
"""Of a document: Postgres' own limit is a megabyte."""

Texts = Mapping[str, Sequence[str | None]]
"""Of some rows, field by field."""
Numbers = NDArray[np.int64]


class Spread(NamedTuple):
    """A line for each word of some documents, in the order of document, word and place.

    `words` are the different ones, in the order of their bytes; `doc`, `field`, `word` and `place` are numbers, places
    counted from 1. Words of two fields never follow each other.
    """

    words: pl.Series
    doc: Numbers
    field: Numbers
    word: Numbers
    place: Numbers

    def take(self, lines: NDArray[Any]) -> "Spread":
        """Some of the lines, by their numbers or by whether they are wanted."""
        return Spread(self.words, self.doc[lines], self.field[lines], self.word[lines], self.place[lines])

    @property
    def first(self) -> NDArray[np.bool_]:
        """Which lines have a word for the first time in their document."""
        first = np.ones(self.doc.size, bool)
        first[1:] = (self.word[1:] != self.word[:-1]) | (self.doc[1:] != self.doc[:-1])
        return first


class Counts(NamedTuple):
    """How often each word stands in how many more documents than before; fewer, if negative."""

    words: list[str]
    documents: list[int]
    occurrences: list[int]


def split(texts: pl.Series) -> pl.Series:
    """The words of each text, as `tokenizer.tokenize` finds them; none of a null."""
    lower = texts.str.to_lowercase()
    if lower.str.len_bytes().sum() != lower.str.len_chars().sum():  # ASCII is composed as it is
        lower = lower.str.normalize("NFC")
    found = lower.str.extract_all(tokenizer.RUST_WORD).list.head(tokenizer.MAX_WORDS)
    return found.list.eval(pl.element().str.slice(0, tokenizer.MAX_WORD_LENGTH))


def spread(texts: Texts) -> Spread:
    """All words of rows whose texts are given field by field."""
    fields = []
    for number, values in enumerate(texts.values()):
        found = pl.DataFrame({"word": split(pl.Series(values, dtype=pl.String))})
        fields.append(found.with_row_index("doc").with_columns(pl.lit(number, pl.UInt32).alias("field")))
    lines = pl.concat(fields).explode("word").drop_nulls("word")
    if len(fields) > 1:
        lines = lines.sort("doc", "field", maintain_order=True)
    different = lines["word"].unique().sort()
    doc, field = _numbers(lines["doc"]), _numbers(lines["field"])
    word = _numbers(lines["word"].cast(pl.Enum(different)).to_physical())
    place = np.arange(1, doc.size + 1) - _begin(doc) + field
    spread = Spread(different, doc, field, word, place)
    return spread.take(np.argsort(doc * len(different) + word, kind="stable"))


def shortened(found: Spread) -> Spread:
    """Without what is too much for a document of Postgres; such documents are rare."""
    sizes = _numbers(found.words.str.len_bytes())[found.word] + 8
    if np.bincount(found.doc, weights=sizes).max(initial=0) <= MOST_BYTES:
        return found
    order = np.lexsort((found.place, found.doc))
    sums = np.cumsum(sizes[order])
    before = np.append(0, sums)[_begin(found.doc)]
    kept = np.empty(order.size, bool)
    kept[order] = sums - before <= MOST_BYTES
    return found.take(kept & (found.place <= tokenizer.MAX_WORDS))


def counts(added: Sequence[Spread], removed: Spread) -> Counts:
    """What the words of some rows add and those of others take away; words that come out even are left out."""
    frames = [_counted(found, 1) for found in added if found.doc.size]
    frames += [_counted(removed, -1)] if removed.doc.size else []
    if not frames:
        return Counts([], [], [])
    summed = frames[0]
    if len(frames) > 1:
        summed = pl.concat(frames).group_by("word").sum()
        summed = summed.filter((pl.col("documents") != 0) | (pl.col("occurrences") != 0))
    return Counts(summed["word"].to_list(), summed["documents"].to_list(), summed["occurrences"].to_list())


def _counted(found: Spread, sign: int) -> pl.DataFrame:
    many = len(found.words)
    documents, occurrences = (np.bincount(each, minlength=many) for each in (found.word[found.first], found.word))
    return pl.DataFrame({"word": found.words, "documents": sign * documents, "occurrences": sign * occurrences})


def _begin(doc: Numbers) -> Numbers:
    """Of each line, where its document begins."""
    many = np.bincount(doc)
    return (np.cumsum(many) - many)[doc]


def _numbers(values: pl.Series) -> Numbers:
    return values.to_numpy().astype(np.int64)
