r"""Load time of a large file into an empty table, compared with `psql \copy`, dlt and pgloader.

The peers load a valid file, because `\copy` and dlt stop at the first invalid row. Millrace loads one with invalid
rows, checks every value and stores the failed rows.
"""

import os
import subprocess
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench import hires, jobs, psql
from bench.programs import available, peer_python
from bench.results import Row, at_most
from bench.stack import Stack
from deploy.local.state import REPOSITORY

RUNS = 3
LIMIT = 0.8


def measure(stack: Stack) -> list[Row]:
    """Medians of three alternating runs; dlt and pgloader run once."""
    with TemporaryDirectory() as folder, jobs.client(stack) as http:
        clean, mixed = Path(folder, "clean.csv"), Path(folder, "mixed.csv")
        hires.write(clean, hires.ROWS, bad=False)
        hires.write(mixed, hires.ROWS, bad=True)
        loads, copies, keyless = [], [], []
        for run in range(RUNS):
            dataset = f"bench_hires_{run}"
            jobs.declare(http, dataset)
            psql.settle(stack)
            loads.append(jobs.load_file(stack, http, dataset, mixed))
            psql.drop(stack, dataset)
            copies.append(_copy(stack, clean, key=True))
            keyless.append(_copy(stack, clean, key=False))
        dlt, pgloader = _dlt(stack, clean), _pgloader(stack, clean)
    for load in loads:
        assert load.outcome["inserted"] == hires.ROWS - hires.count_bad(hires.ROWS), load
        assert load.outcome["failed"] == hires.count_bad(hires.ROWS), load
    peer, loaded = median(copies), median(load.loaded for load in loads)
    accepted, ended = median(load.accepted for load in loads), median(load.ended for load in loads)

    def row(label: str, seconds: float, target: str = "") -> Row:
        return Row(label, f"{seconds:.2f} s", seconds / peer, target)

    return [
        row(f"load {hires.ROWS:,} rows: psql \\copy, with the key", peer),
        row("load: psql \\copy, without the key", median(keyless)),
        row("load: dlt, Arrow and ADBC, with the key", dlt),
        row("load: pgloader, with the key", pgloader) if pgloader else Row("load: pgloader", "not installed"),
        row("load: Millrace, 0.5 % bad, last chunk loaded", loaded, at_most(loaded / peer, LIMIT)),
        row("load: Millrace, upload answered", accepted),
        row("load: Millrace, job ended", ended),
    ]


def _copy(stack: Stack, clean: Path, *, key: bool) -> float:
    psql.create(stack, key=key)
    psql.settle(stack)
    seconds = psql.seconds(stack, psql.copy(clean))
    _check(stack, "public.peer")
    psql.run(stack, "DROP TABLE public.peer")
    return seconds


def _dlt(stack: Stack, clean: Path) -> float:
    psql.settle(stack)
    done = subprocess.run(
        [peer_python(), "-m", "bench.peers.hires_dlt", stack.env["DATABASE_URL"], clean],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    _check(stack, "bench_dlt.hires")
    psql.run(stack, "DROP TABLE bench_dlt.hires")
    return float(done.stdout.split()[-1])


def _pgloader(stack: Stack, clean: Path) -> float | None:
    if not available("pgloader"):
        return None
    psql.create(stack)
    psql.settle(stack)
    url = urlsplit(stack.env["DATABASE_URL"])
    target = f"{url._replace(scheme='pgsql').geturl()}?tablename=public.peer"
    columns = psql.COLUMNS.replace(" bigint NOT NULL", "").replace(" text NOT NULL", "")
    fields = columns.replace(" timestamptz NOT NULL", "")
    began = time.perf_counter()
    subprocess.run(
        [
            "pgloader",
            "--quiet",
            "--type",
            "csv",
            "--field",
            fields,
            "--with",
            "fields terminated by ','",
            clean,
            target,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(clean.parent)},
    )
    seconds = time.perf_counter() - began
    _check(stack, "public.peer")
    psql.run(stack, "DROP TABLE public.peer")
    return seconds


def _check(stack: Stack, table: str) -> None:
    rows = int(psql.run(stack, f"SELECT count(*) FROM {table}"))
    assert rows == hires.ROWS, (table, rows)
