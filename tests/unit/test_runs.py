"""Runs of rows of several chunks: each key once, and the chunks of a key in their order."""

import random
from collections import defaultdict

import polars as pl
import pytest

from services.ingestor.write import runs
from services.ingestor.write.binary_copy import CHUNK

KEY = ("id", "day")


def rows_of(*rows: tuple[int, int, str]) -> pl.DataFrame:
    """Of chunk, id and day; `n` numbers them."""
    return pl.DataFrame(
        [(chunk, number, day, place) for place, (chunk, number, day) in enumerate(rows)],
        schema={CHUNK: pl.Int64, "id": pl.Int64, "day": pl.String, "n": pl.Int64},
        orient="row",
    )


def test_chunks_without_a_common_key_are_one_run() -> None:
    split = runs.split(rows_of(*((chunk, chunk, "mon") for chunk in range(1, 401))), KEY)
    assert split.heights == [400]
    assert split.rows["n"].to_list() == split.places.to_list() == list(range(400))


def test_of_rows_with_one_key_in_a_chunk_the_last_one_stays() -> None:
    split = runs.split(rows_of((7, 1, "mon"), (7, 2, "mon"), (7, 1, "mon"), (7, 1, "tue")), KEY)
    assert (split.heights, split.places.to_list()) == ([3], [1, 2, 3])


def test_a_chunk_comes_after_all_chunks_with_one_of_its_keys() -> None:
    split = runs.split(rows_of((1, 1, "mon"), (2, 1, "mon"), (2, 2, "mon"), (3, 2, "mon"), (4, 9, "mon")), KEY)
    assert (split.heights, split.rows[CHUNK].to_list()) == ([2, 2, 1], [1, 4, 2, 2, 3])


@pytest.mark.parametrize("seed", range(50))
def test_any_chunks_keep_the_order_of_each_key(seed: int) -> None:
    chance = random.Random(seed)
    rows = rows_of(
        *(
            (chunk, chance.randint(1, 8), chance.choice(["mon", "tue"]))
            for chunk in range(10, 30)
            for _ in range(chance.randint(1, 3))
        )
    )
    split = runs.split(rows, KEY)
    assert sum(split.heights) == split.rows.height
    assert rows["n"].gather(split.places).to_list() == split.rows["n"].to_list()
    last = {(chunk, number, day): n for chunk, number, day, n in rows.select(CHUNK, *KEY, "n").iter_rows()}
    assert sorted(split.rows["n"].to_list()) == sorted(last.values())
    run_of: dict[int, set[int]] = defaultdict(set)
    chunks_of: dict[tuple[int, str], list[int]] = defaultdict(list)
    first = 0
    for run, height in enumerate(split.heights):
        part = split.rows[first : first + height]
        assert not part.select(KEY).is_duplicated().any()
        for chunk, number, day in part.select(CHUNK, *KEY).iter_rows():
            run_of[chunk].add(run)
            chunks_of[number, day].append(chunk)
        first += height
    assert all(len(found) == 1 for found in run_of.values())
    assert all(chunks == sorted(chunks) for chunks in chunks_of.values())
