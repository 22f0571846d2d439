"""Splits the rows of several chunks into runs: within a run every key occurs once. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from services.ingestor.write.binary_copy import CHUNK

PLACE = "_place"


class Runs(NamedTuple):
    """Rows in the order of their runs, the place of each in the input, and the number of rows in each run."""

    rows: pl.DataFrame
    places: pl.Series
    heights: list[int]


def split(rows: pl.DataFrame, key: Sequence[str]) -> Runs:
    """Returns each key once for each chunk, with its last row. The rows of a chunk follow each other.

    A chunk is in one run as a whole, and in a later one than every earlier chunk with which it has a key in common.
    """
    chunks = rows[CHUNK]
    is_alone = chunks[0] == chunks[-1]
    subset = key if is_alone else [*key, CHUNK]
    numbered = rows.with_row_index(PLACE).unique(subset=subset, keep="last", maintain_order=True)
    if not is_alone and (runs := _number_chunks(numbered, key)):
        run = np.array([runs.get(chunk, 0) for chunk in numbered[CHUNK].to_list()])
        numbered = numbered[np.argsort(run, kind="stable")]
        heights = np.bincount(run).tolist()
    else:
        heights = [numbered.height]
    return Runs(numbered.drop(PLACE), numbered[PLACE], heights)


def _number_chunks(rows: pl.DataFrame, key: Sequence[str]) -> dict[int, int]:
    """Returns the run of each chunk that has a key in common with another one. The others are in the first."""
    shared = rows.filter(rows.select(key).is_duplicated())
    keys: dict[int, list[int]] = defaultdict(list)
    for number, chunks in enumerate(shared.group_by(key).agg(CHUNK)[CHUNK].to_list()):
        for chunk in chunks:
            keys[chunk].append(number)
    runs: dict[int, int] = {}
    following: dict[int, int] = defaultdict(int)
    for chunk in sorted(keys):
        runs[chunk] = max(following[number] for number in keys[chunk])
        following.update(dict.fromkeys(keys[chunk], runs[chunk] + 1))
    return runs
