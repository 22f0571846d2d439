"""Documents in the binary format of Postgres' `tsvector`, which needs no parsing by Postgres. Pure.

The number of words (4 bytes); then each word, in byte order: its bytes, a zero, the number of positions (2 bytes), and
the positions (2 bytes each: two bits for the label, fourteen for the position). All numbers are big-endian.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from services.indexer.documents.tokens import Numbers, Postings
from shared.search import tokenizer

LABELS = "DCBA"
Bytes = NDArray[np.uint8]
MAX_POSITIONS = 256
"""Positions of a word in a document; Postgres keeps no more."""
BATCH = 1 << 14
"""Words that are copied at a time, so that they fit into the processor's cache."""


def build_tsvectors(postings: Postings, labels: Sequence[str], rows: int) -> list[bytes]:
    """Returns a `tsvector` for each of so many rows; `labels` are those of the fields."""
    postings = postings._replace(position=np.minimum(postings.position, tokenizer.MAX_WORDS))
    postings = postings.take(_representable(postings))
    start = np.flatnonzero(postings.is_first)
    counts = np.diff(start, append=postings.doc.size)
    label = np.array([LABELS.index(label) for label in labels])[postings.field]
    labelled = postings.position | label << 14
    return _assemble(postings.words, postings.doc[start], postings.word[start], counts, labelled, rows)


def _representable(postings: Postings) -> NDArray[np.bool_]:
    """Returns a mask of the positions that Postgres keeps: different ones, and the first MAX_POSITIONS of a word."""
    first = postings.is_first
    different = first.copy()
    different[1:] |= postings.position[1:] != postings.position[:-1]
    numbers = np.arange(first.size)
    within = numbers - np.maximum.accumulate(np.where(first, numbers, 0))
    return different & (within < MAX_POSITIONS)


def _assemble(
    words: pl.Series, doc: Numbers, word: Numbers, counts: Numbers, positions: Numbers, rows: int
) -> list[bytes]:
    letters = np.frombuffer("\0".join([*words, ""]).encode(), np.uint8)
    lengths = words.str.len_bytes().to_numpy().astype(np.int64) + 1
    length = lengths[word]
    sizes = length + 2 + 2 * counts
    heads = np.cumsum(np.bincount(doc, sizes + 0.0, rows).astype(np.int64) + 4)
    heads = np.concatenate(([0], heads))
    starts = np.cumsum(sizes) - sizes + 4 * (doc + 1)
    out = np.zeros(int(heads[-1]), np.uint8)
    _put_words(out, letters, (np.cumsum(lengths) - lengths)[word], starts, length)
    ends = starts + length
    _put(out, ends, counts, 2)
    within = np.arange(positions.size) - np.repeat(np.cumsum(counts) - counts, counts)
    _put(out, np.repeat(ends + 2, counts) + 2 * within, positions, 2)
    _put(out, heads[:-1], np.bincount(doc, minlength=rows), 4)
    data = out.tobytes()
    return [data[start:end] for start, end in pairwise(heads.tolist())]


def _put_words(out: Bytes, letters: Bytes, source: Numbers, target: Numbers, length: Numbers) -> None:
    for at in range(0, length.size, BATCH):
        batch = slice(at, at + BATCH)
        ends = np.cumsum(length[batch])
        starts = ends - length[batch]
        steps = np.arange(ends[-1], dtype=np.int32)
        destination, base = out[target[at] :], target[at]
        read = np.repeat((source[batch] - starts).astype(np.int32), length[batch]) + steps
        write = np.repeat((target[batch] - base - starts).astype(np.int32), length[batch]) + steps
        destination[write] = letters[read]


def _put(out: Bytes, at: Numbers, numbers: Numbers, size: int) -> None:
    for byte in range(size):
        out[at + byte] = numbers >> 8 * (size - 1 - byte) & 255
