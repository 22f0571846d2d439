"""The catalog's own hires, as many as are wanted: of all departments and jobs, over five years, in no order."""

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
"""Fewer are good for trying whether a measurement works, not for its figures."""
DATASET = "hired_employees"
ROLLUP = "rollups.hired_employees__hires"
DEPARTMENTS, JOBS = 12, 183
YEARS = range(2015, 2020)
SPAN = 1826 * 86_400
"""The seconds of those years."""
STRIDE = 97_504_987
"""From one hire to the next, around and around: rows that follow one another are of different years."""


def frame(first: int, rows: int) -> pl.DataFrame:
    """Good rows, with ids that count up from `first`."""
    number = pl.col("id")
    moment = pl.datetime(YEARS[0], 1, 1) + pl.duration(seconds=number * STRIDE % SPAN)
    return hires.frame(first, rows).with_columns(
        hired_at=moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        department_id=number % DEPARTMENTS + 1,
        job_id=number // DEPARTMENTS % JOBS + 1,
    )


def batch(first: int, rows: int) -> dict[str, Any]:
    """The same as the body of a request."""
    return {"rows": frame(first, rows).to_dicts()}


def count(stack: Stack) -> int:
    """How many there are. Their ids are 1, 2, 3 …, so the next one is known."""
    return int(psql.run(stack, f"SELECT count(*) FROM data.{DATASET}"))


def stock(stack: Stack, http: httpx2.Client, rows: int) -> None:
    """At least so many are there, and Postgres has done for its tables what it else does by and by."""
    have = count(stack)
    if have >= rows:
        return
    if not have:
        jobs.declare(http, DATASET, _declaration())
        _load_names(stack, http, "departments", DEPARTMENTS)
        _load_names(stack, http, "jobs", JOBS)
    with _file(have + 1, rows - have) as path:
        load = jobs.load_file(stack, http, DATASET, path)
    assert load.outcome["inserted"] == rows - have, load
    psql.run(stack, f"VACUUM (ANALYZE) data.{DATASET}, data.departments, data.jobs, {ROLLUP}")
    psql.settle(stack)


def load(stack: Stack, http: httpx2.Client, good: pl.DataFrame) -> jobs.Load:
    """As a file, whole."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "hired.csv")
        good.write_csv(path, include_header=False)
        return jobs.load_file(stack, http, DATASET, path)


def _declaration() -> dict[str, Any]:
    """The catalog's without search: what is measured is reports, and an index of all names is not theirs."""
    declared = tomllib.loads((REPOSITORY / "catalog" / "datasets" / f"{DATASET}.toml").read_text())
    return {key: value for key, value in declared.items() if key != "search"}


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
