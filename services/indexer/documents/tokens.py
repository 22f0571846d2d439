"""Postings of rows: the position of each word in its document, and the word counts of many documents. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.search import tokenizer

MAX_BYTES = 800_000
"""Size of a document; Postgres' limit for a `tsvector` is a megabyte."""

FieldTexts = Mapping[str, Sequence[str | None]]
"""The texts of some rows by field."""
Numbers = NDArray[np.int64]


class Postings(NamedTuple):
    """One line for each occurrence of a word, sorted by document, word and position.

    `words` has the different words in byte order. `doc`, `field` and `word` are numbers; positions start with 1. Words
    of two fields are never adjacent.
    """

    words: pl.Series
    doc: Numbers
    field: Numbers
    word: Numbers
    position: Numbers

    def take(self, lines: NDArray[Any]) -> "Postings":
        """Returns some of the lines, by number or by mask."""
        return Postings(self.words, self.doc[lines], self.field[lines], self.word[lines], self.position[lines])

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """A mask of the first occurrences of a word in a document."""
        first = np.ones(self.doc.size, bool)
        first[1:] = (self.word[1:] != self.word[:-1]) | (self.doc[1:] != self.doc[:-1])
        return first


class CountDeltas(NamedTuple):
    """By word, the changes of document frequency and occurrences."""

    words: list[str]
    documents: list[int]
    occurrences: list[int]


def tokenize(texts: pl.Series) -> pl.Series:
    """Returns the words of each text, as `tokenizer.tokenize` does; null for null."""
    lower = texts.str.to_lowercase()
    if lower.str.len_bytes().sum() != lower.str.len_chars().sum():  # ASCII needs no normalization
        lower = lower.str.normalize("NFC")
    words = lower.str.extract_all(tokenizer.RUST_WORD).list.head(tokenizer.MAX_WORDS)
    return words.list.eval(pl.element().str.slice(0, tokenizer.MAX_WORD_LENGTH))


def build_postings(texts: FieldTexts) -> Postings:
    """Tokenizes rows."""
    fields = []
    for number, values in enumerate(texts.values()):
        words = pl.DataFrame({"word": tokenize(pl.Series(values, dtype=pl.String))})
        fields.append(words.with_row_index("doc").with_columns(pl.lit(number, pl.UInt32).alias("field")))
    lines = pl.concat(fields).explode("word").drop_nulls("word")
    if len(fields) > 1:
        lines = lines.sort("doc", "field", maintain_order=True)
    different = lines["word"].unique().sort()
    doc, field = _numbers(lines["doc"]), _numbers(lines["field"])
    word = _numbers(lines["word"].cast(pl.Enum(different)).to_physical())
    position = np.arange(1, doc.size + 1) - _document_starts(doc) + field
    postings = Postings(different, doc, field, word, position)
    return postings.take(np.argsort(doc * len(different) + word, kind="stable"))


def truncate(postings: Postings) -> Postings:
    """Removes the last words of documents that are too large for Postgres, which are rare."""
    sizes = _numbers(postings.words.str.len_bytes())[postings.word] + 8
    if np.bincount(postings.doc, weights=sizes).max(initial=0) <= MAX_BYTES:
        return postings
    order = np.lexsort((postings.position, postings.doc))
    sums = np.cumsum(sizes[order])
    before = np.append(0, sums)[_document_starts(postings.doc)]
    fits = np.empty(order.size, bool)
    fits[order] = sums - before <= MAX_BYTES
    return postings.take(fits & (postings.position <= tokenizer.MAX_WORDS))


def build_deltas(added: Sequence[Postings], removed: Postings) -> CountDeltas:
    """Returns the counts of added rows minus those of removed rows, without words that cancel out."""
    frames = [_count(postings, 1) for postings in added if postings.doc.size]
    frames += [_count(removed, -1)] if removed.doc.size else []
    if not frames:
        return CountDeltas([], [], [])
    summed = frames[0]
    if len(frames) > 1:
        summed = pl.concat(frames).group_by("word").sum()
        summed = summed.filter((pl.col("documents") != 0) | (pl.col("occurrences") != 0))
    return CountDeltas(summed["word"].to_list(), summed["documents"].to_list(), summed["occurrences"].to_list())


def _count(postings: Postings, sign: int) -> pl.DataFrame:
    size = len(postings.words)
    documents = np.bincount(postings.word[postings.is_first], minlength=size)
    occurrences = np.bincount(postings.word, minlength=size)
    return pl.DataFrame({"word": postings.words, "documents": sign * documents, "occurrences": sign * occurrences})


def _document_starts(doc: Numbers) -> Numbers:
    """Returns, for each line, the number of its document's first line."""
    sizes = np.bincount(doc)
    return (np.cumsum(sizes) - sizes)[doc]


def _numbers(values: pl.Series) -> Numbers:
    return values.to_numpy().astype(np.int64)
