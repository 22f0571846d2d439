"""Generates hires for the catalog's dataset: all departments and jobs, five years, in random order."""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import polars as pl

from bench import hires, jobs, psql
from bench.stack import Stack
from deploy.local.state import REPOSITORY

ROWS = int(os.environ.get("BENCH_HIRES", "10000000"))
"""Set fewer to test a measurement; its figures are then meaningless."""
DATASET = "hired_employees"
ROLLUP = "rollups.hired_employees__hires"
DEPARTMENTS, JOBS = 12, 183
YEARS = range(2015, 2020)
SPAN = 1826 * 86_400
"""Length of these years in seconds."""
STRIDE = 97_504_987
"""Seconds from one hire to the next, modulo SPAN: consecutive rows belong to different years."""


def frame(first: int, rows: int) -> pl.DataFrame:
    """Returns valid rows with consecutive IDs from `first`."""
    number = pl.col("id")
    moment = pl.datetime(YEARS[0], 1, 1) + pl.duration(seconds=number * STRIDE % SPAN)
    return hires.frame(first, rows).with_columns(
        hired_at=moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        department_id=number % DEPARTMENTS + 1,
        job_id=number // DEPARTMENTS % JOBS + 1,
    )


def batch(first: int, rows: int) -> dict[str, Any]:
    """Returns these rows as a request body."""
    return {"rows": frame(first, rows).to_dicts()}


def count(stack: Stack) -> int:
    """Returns the number of rows, which is also the highest ID."""
    return int(psql.run(stack, f"SELECT count(*) FROM data.{DATASET}"))


def ensure_rows(stack: Stack, http: httpx2.Client, rows: int) -> None:
    """Loads rows until there are at least `rows`, and runs VACUUM."""
    existing = count(stack)
    if existing >= rows:
        return
    if not existing:
        jobs.declare(http, DATASET, _declaration())
        _load_names(stack, http, "departments", DEPARTMENTS)
        _load_names(stack, http, "jobs", JOBS)
    with _file(existing + 1, rows - existing) as path:
        load = jobs.load_file(stack, http, DATASET, path)
    assert load.outcome["inserted"] == rows - existing, load
    psql.run(stack, f"VACUUM (ANALYZE) data.{DATASET}, data.departments, data.jobs, {ROLLUP}")
    psql.settle(stack)


def load(stack: Stack, http: httpx2.Client, good: pl.DataFrame) -> jobs.Load:
    """Loads the rows as one file."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "hired.csv")
        good.write_csv(path, include_header=False)
        return jobs.load_file(stack, http, DATASET, path)


def _declaration() -> dict[str, Any]:
    """Returns the catalog's declaration without search, which reports do not need."""
    declaration = tomllib.loads((REPOSITORY / "catalog" / "datasets" / f"{DATASET}.toml").read_text())
    return {key: value for key, value in declaration.items() if key != "search"}


@contextmanager
def _file(first: int, rows: int) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "hired.csv")
        with path.open("wb") as file:
            for start in range(first, first + rows, hires.ROWS_AT_ONCE):
                good = frame(start, min(hires.ROWS_AT_ONCE, first + rows - start))
                good.write_csv(file, include_header=False)
        yield path


def _load_names(stack: Stack, http: httpx2.Client, dataset: str, rows: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "names.csv")
        path.write_text("".join(f"{number},{dataset} {number:03}\n" for number in range(1, rows + 1)))
        load = jobs.load_file(stack, http, dataset, path)
    assert load.outcome["inserted"] == rows, load
