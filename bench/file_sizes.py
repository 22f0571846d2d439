"""Load time per row for files of different sizes."""

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import hires, jobs, psql
from bench.results import Row
from bench.stack import Stack

RUNS = {100_000: 5, 1_000_000: 3, 10_000_000: 1}


def measure(stack: Stack) -> list[Row]:
    """Returns seconds per million rows, relative to the file with a million rows."""
    seconds = {rows: median(_load(stack, rows, run) for run in range(runs)) for rows, runs in RUNS.items()}
    return [
        Row(
            f"flat: {rows:,} rows into an empty table",
            f"{each * 1_000_000 / rows:.2f} s per million",
            each / rows / (seconds[1_000_000] / 1_000_000),
        )
        for rows, each in seconds.items()
    ]


def _load(stack: Stack, rows: int, run: int) -> float:
    dataset = f"bench_flat_{rows}_{run}"
    with TemporaryDirectory() as folder, jobs.client(stack) as http:
        path = Path(folder, "mixed.csv")
        hires.write(path, rows, bad=True)
        jobs.declare(http, dataset)
        psql.settle(stack)
        load = jobs.load_file(stack, http, dataset, path)
        psql.drop(stack, dataset)
    assert load.outcome["inserted"] == rows - hires.count_bad(rows), load
    return load.loaded
