"""Documents in the binary form of Postgres' `tsvector`, which it takes over as it is. Pure.

How many words (4 bytes), then each word, in the order of their bytes: the word, a zero, how many places (2 bytes),
and the places (2 bytes each: two bits for the letter, fourteen for the place). All numbers big-endian.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from services.indexer.documents.tokens import Numbers, Spread
from shared.search import tokenizer

LETTERS = "DCBA"
Bytes = NDArray[np.uint8]
MOST_PLACES = 256
"""Of a word in a document: Postgres keeps no more."""
AT_ONCE = 1 << 14
"""Words of documents: so many fit into the processor's cache."""


def write(found: Spread, labels: Sequence[str], rows: int) -> list[bytes]:
    """A `tsvector` for each of so many documents; `labels` are the letters of the fields."""
    found = found._replace(place=np.minimum(found.place, tokenizer.MAX_WORDS))
    found = found.take(_kept(found))
    begin = np.flatnonzero(found.first)
    places = np.diff(begin, append=found.doc.size)
    letters = np.array([LETTERS.index(label) for label in labels])[found.field]
    return _assemble(found.words, found.doc[begin], found.word[begin], places, found.place | letters << 14, rows)


def _kept(found: Spread) -> NDArray[np.bool_]:
    """Places that differ from those before them, and not too many of a word."""
    first = found.first
    kept = first.copy()
    kept[1:] |= found.place[1:] != found.place[:-1]
    numbers = np.arange(first.size)
    within = numbers - np.maximum.accumulate(np.where(first, numbers, 0))
    return kept & (within < MOST_PLACES)


def _assemble(
    different: pl.Series, doc: Numbers, word: Numbers, places: Numbers, marked: Numbers, rows: int
) -> list[bytes]:
    letters = np.frombuffer("\0".join([*different, ""]).encode(), np.uint8)
    lengths = different.str.len_bytes().to_numpy().astype(np.int64) + 1
    length = lengths[word]
    sizes = length + 2 + 2 * places
    heads = np.cumsum(np.bincount(doc, sizes + 0.0, rows).astype(np.int64) + 4)
    heads = np.concatenate(([0], heads))
    starts = np.cumsum(sizes) - sizes + 4 * (doc + 1)
    out = np.zeros(int(heads[-1]), np.uint8)
    _put_words(out, letters, (np.cumsum(lengths) - lengths)[word], starts, length)
    behind = starts + length
    _put(out, behind, places, 2)
    within = np.arange(marked.size) - np.repeat(np.cumsum(places) - places, places)
    _put(out, np.repeat(behind + 2, places) + 2 * within, marked, 2)
    _put(out, heads[:-1], np.bincount(doc, minlength=rows), 4)
    data = out.tobytes()
    return [data[begin:end] for begin, end in pairwise(heads.tolist())]


def _put_words(out: Bytes, letters: Bytes, source: Numbers, target: Numbers, length: Numbers) -> None:
    for at in range(0, length.size, AT_ONCE):
        some = slice(at, at + AT_ONCE)
        behind = np.cumsum(length[some])
        before = behind - length[some]
        steps = np.arange(behind[-1], dtype=np.int32)
        there, base = out[target[at] :], target[at]
        reading = np.repeat((source[some] - before).astype(np.int32), length[some]) + steps
        writing = np.repeat((target[some] - base - before).astype(np.int32), length[some]) + steps
        there[writing] = letters[reading]


def _put(out: Bytes, at: Numbers, numbers: Numbers, size: int) -> None:
    for byte in range(size):
        out[at + byte] = numbers >> 8 * (size - 1 - byte) & 255
