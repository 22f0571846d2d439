"""Generates the rows for load measurements: `id,name,hired_at,department_id,job_id`, without a header."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

ROWS = 2_000_000
BAD_EVERY = 200
ROWS_AT_ONCE = 200_000
FIRST = ("Ada", "Blaise", "Carol", "Dmitri", "Edsger", "Frances", "Grace", "Hedy")
LAST = ("Almeida", "Berger", "Chandrasekhar", "Dijkstra", "Eriksen", "Fourier", "Gutierrez")

# No search and no rollups: only loading is measured.
DECLARATION: dict[str, Any] = {
    "title": "Benchmark hires",
    "primary_key": ["id"],
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "string", "required": True, "max_length": 200},
        {"name": "hired_at", "type": "datetime", "required": True},
        {"name": "department_id", "type": "integer", "required": True},
        {"name": "job_id", "type": "integer", "required": True},
    ],
}


def frame(first: int, rows: int) -> pl.DataFrame:
    """Returns valid rows with consecutive IDs from `first`."""
    number = pl.col("id")
    return (
        pl.int_range(first, first + rows, eager=True)
        .alias("id")
        .to_frame()
        .select(
            "id",
            pl.format("{} {}", _of(FIRST, number), _of(LAST, number // len(FIRST))).alias("name"),
            (pl.datetime(2015, 1, 1) + pl.duration(seconds=number * 15))
            .dt.strftime("%Y-%m-%dT%H:%M:%SZ")
            .alias("hired_at"),
            (number % 12 + 1).cast(pl.String).alias("department_id"),
            (number % 183 + 1).cast(pl.String).alias("job_id"),
        )
    )


def add_errors(good: pl.DataFrame) -> pl.DataFrame:
    """Makes every 200th row invalid: half of them lack a value, half have a value of the wrong type."""
    number = pl.col("id")
    return good.with_columns(
        job_id=pl.when(number % (2 * BAD_EVERY) != 0).then("job_id"),
        hired_at=pl.when(number % (2 * BAD_EVERY) != BAD_EVERY).then("hired_at").otherwise(pl.lit("last spring")),
    )


def write(path: Path, rows: int, *, bad: bool) -> None:
    """Writes rows 1, 2, 3 …"""
    with path.open("wb") as file:
        for _, content in batches(rows, bad=bad):
            file.write(content)


def batches(rows: int, *, bad: bool) -> Iterator[tuple[int, bytes]]:
    """Yields the file in batches of a few megabytes, each with its number of rows."""
    for first in range(1, rows + 1, ROWS_AT_ONCE):
        good = frame(first, min(ROWS_AT_ONCE, rows + 1 - first))
        yield good.height, (add_errors(good) if bad else good).write_csv(include_header=False).encode()


def count_bad(rows: int) -> int:
    """Returns the number of invalid rows among rows 1 to `rows`."""
    return rows // BAD_EVERY


def _of(names: tuple[str, ...], number: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(names)).gather(number % len(names))
