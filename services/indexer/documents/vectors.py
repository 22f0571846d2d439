"""Encodes documents in the binary format of Postgres' `tsvector`, in which it accepts them without parsing.

The number of words (4 bytes), then each word, sorted by bytes: the word, a zero byte, its number of places (2 bytes),
and the places (2 bytes each: 2 bits for the label, 14 for the place). All numbers are big-endian.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from services.indexer.documents.tokens import Numbers, Tokens
from shared.search import tokenizer

LABELS = "DCBA"
Bytes = NDArray[np.uint8]
MAX_PLACES = 256
"""Postgres' limit for the places of a word in a document."""
BATCH_SIZE = 1 << 14
"""Words that are copied together, so that they fit into the CPU cache."""


def encode(tokens: Tokens, labels: Sequence[str], rows: int) -> list[bytes]:
    """Returns a `tsvector` for each of `rows` documents; `labels` are the labels of the fields."""
    tokens = tokens._replace(place=np.minimum(tokens.place, tokenizer.MAX_WORDS))
    tokens = tokens.take(_allowed(tokens))
    starts = np.flatnonzero(tokens.is_first)
    places = np.diff(starts, append=tokens.doc.size)
    bits = np.array([LABELS.index(label) for label in labels])[tokens.field]
    return _assemble(tokens.words, tokens.doc[starts], tokens.word[starts], places, tokens.place | bits << 14, rows)


def _allowed(tokens: Tokens) -> NDArray[np.bool_]:
    """A mask without repeated places, and without places of a word beyond Postgres' limit."""
    first = tokens.is_first
    mask = first.copy()
    mask[1:] |= tokens.place[1:] != tokens.place[:-1]
    numbers = np.arange(first.size)
    within = numbers - np.maximum.accumulate(np.where(first, numbers, 0))
    return mask & (within < MAX_PLACES)


def _assemble(
    distinct: pl.Series, doc: Numbers, word: Numbers, places: Numbers, labeled: Numbers, rows: int
) -> list[bytes]:
    """`doc`, `word` and `places` (how many) have an entry for each word of each document, `labeled` for each place."""
    letters = np.frombuffer("\0".join([*distinct, ""]).encode(), np.uint8)
    lengths = distinct.str.len_bytes().to_numpy().astype(np.int64) + 1
    length = lengths[word]
    sizes = length + 2 + 2 * places
    heads = np.cumsum(np.bincount(doc, sizes + 0.0, rows).astype(np.int64) + 4)
    heads = np.concatenate(([0], heads))
    starts = np.cumsum(sizes) - sizes + 4 * (doc + 1)
    out = np.zeros(int(heads[-1]), np.uint8)
    _put_words(out, letters, (np.cumsum(lengths) - lengths)[word], starts, length)
    ends = starts + length
    _put_numbers(out, ends, places, 2)
    within = np.arange(labeled.size) - np.repeat(np.cumsum(places) - places, places)
    _put_numbers(out, np.repeat(ends + 2, places) + 2 * within, labeled, 2)
    _put_numbers(out, heads[:-1], np.bincount(doc, minlength=rows), 4)
    data = out.tobytes()
    return [data[start:end] for start, end in pairwise(heads.tolist())]


def _put_words(out: Bytes, letters: Bytes, source: Numbers, target: Numbers, length: Numbers) -> None:
    """Copies a word of `length` bytes from each offset in `source` to the one in `target`."""
    for start in range(0, length.size, BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        ends = np.cumsum(length[batch])
        before = ends - length[batch]
        steps = np.arange(ends[-1], dtype=np.int32)
        window, base = out[target[start] :], target[start]
        read = np.repeat((source[batch] - before).astype(np.int32), length[batch]) + steps
        written = np.repeat((target[batch] - base - before).astype(np.int32), length[batch]) + steps
        window[written] = letters[read]


def _put_numbers(out: Bytes, offsets: Numbers, numbers: Numbers, size: int) -> None:
    """Writes big-endian numbers of `size` bytes."""
    for byte in range(size):
        out[offsets + byte] = numbers >> 8 * (size - 1 - byte) & 255
