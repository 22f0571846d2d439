"""Tokenizes rows: the words of each document with their places, and counts of words over all documents."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.search import tokenizer

MAX_DOCUMENT_BYTES = 800_000
"""Postgres' limit for a `tsvector` is a megabyte."""

Texts = Mapping[str, Sequence[str | None]]
"""The texts of some rows, by field."""
Numbers = NDArray[np.int64]


class Tokens(NamedTuple):
    """The tokens of some documents as parallel arrays, sorted by document, word and place.

    `words` are the distinct words, sorted by bytes; `word` are indexes into it. `doc` and `field` are indexes, too.
    `place` counts from 1 within the document, with a gap between fields so that no phrase matches across them.
    """

    words: pl.Series
    doc: Numbers
    field: Numbers
    word: Numbers
    place: Numbers

    def take(self, lines: NDArray[Any]) -> "Tokens":
        """Returns the tokens at these indexes, or those where a boolean mask is true."""
        return Tokens(self.words, self.doc[lines], self.field[lines], self.word[lines], self.place[lines])

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """A mask of the first token of each word in each document."""
        mask = np.ones(self.doc.size, bool)
        mask[1:] = (self.word[1:] != self.word[:-1]) | (self.doc[1:] != self.doc[:-1])
        return mask


class WordCounts(NamedTuple):
    """Deltas by word: in how many documents it occurs, and how often in total. May be negative."""

    words: list[str]
    documents: list[int]
    occurrences: list[int]


def split(texts: pl.Series) -> pl.Series:
    """Splits each text into the same words as `tokenizer.tokenize`; null has none."""
    lower = texts.str.to_lowercase()
    if lower.str.len_bytes().sum() != lower.str.len_chars().sum():  # ASCII needs no normalization
        lower = lower.str.normalize("NFC")
    found = lower.str.extract_all(tokenizer.RUST_WORD).list.head(tokenizer.MAX_WORDS)
    return found.list.eval(pl.element().str.slice(0, tokenizer.MAX_WORD_LENGTH))


def tokenize(texts: Texts) -> Tokens:
    """Returns the tokens of rows, a document for each row."""
    fields = []
    for number, values in enumerate(texts.values()):
        frame = pl.DataFrame({"word": split(pl.Series(values, dtype=pl.String))})
        fields.append(frame.with_row_index("doc").with_columns(pl.lit(number, pl.UInt32).alias("field")))
    lines = pl.concat(fields).explode("word").drop_nulls("word")
    if len(fields) > 1:
        lines = lines.sort("doc", "field", maintain_order=True)
    distinct = lines["word"].unique().sort()
    doc, field = _numbers(lines["doc"]), _numbers(lines["field"])
    word = _numbers(lines["word"].cast(pl.Enum(distinct)).to_physical())
    place = np.arange(1, doc.size + 1) - _document_starts(doc) + field
    tokens = Tokens(distinct, doc, field, word, place)
    return tokens.take(np.argsort(doc * len(distinct) + word, kind="stable"))


def truncate(tokens: Tokens) -> Tokens:
    """Drops the last words of documents that exceed Postgres' limits, which is rare."""
    sizes = _numbers(tokens.words.str.len_bytes())[tokens.word] + 8
    if np.bincount(tokens.doc, weights=sizes).max(initial=0) <= MAX_DOCUMENT_BYTES:
        return tokens
    order = np.lexsort((tokens.place, tokens.doc))
    sums = np.cumsum(sizes[order])
    before = np.append(0, sums)[_document_starts(tokens.doc)]
    fits = np.empty(order.size, bool)
    fits[order] = sums - before <= MAX_DOCUMENT_BYTES
    return tokens.take(fits & (tokens.place <= tokenizer.MAX_WORDS))


def count_words(added: Sequence[Tokens], removed: Tokens) -> WordCounts:
    """Returns the word counts of added minus removed documents, without words whose counts do not change."""
    frames = [_count(tokens, 1) for tokens in added if tokens.doc.size]
    frames += [_count(removed, -1)] if removed.doc.size else []
    if not frames:
        return WordCounts([], [], [])
    counts = frames[0]
    if len(frames) > 1:
        counts = pl.concat(frames).group_by("word").sum()
        counts = counts.filter((pl.col("documents") != 0) | (pl.col("occurrences") != 0))
    return WordCounts(counts["word"].to_list(), counts["documents"].to_list(), counts["occurrences"].to_list())


def _count(tokens: Tokens, sign: int) -> pl.DataFrame:
    size = len(tokens.words)
    documents, occurrences = (np.bincount(each, minlength=size) for each in (tokens.word[tokens.is_first], tokens.word))
    return pl.DataFrame({"word": tokens.words, "documents": sign * documents, "occurrences": sign * occurrences})


def _document_starts(doc: Numbers) -> Numbers:
    """Returns for each token the index of its document's first one."""
    lengths = np.bincount(doc)
    return (np.cumsum(lengths) - lengths)[doc]


def _numbers(values: pl.Series) -> Numbers:
    return values.to_numpy().astype(np.int64)
