"""How much memory the largest upload takes, while it comes in and while it is loaded."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import hires, jobs, psql
from bench.report import Row, at_most
from bench.stack import Stack

BYTES = 2_140_000_000
DISK_PER_BYTE = 7  # the spool, the table, its keys and what Postgres logs of them
LIMITS = {"gateway": 150, "ingestor": 600}
DATASET = "bench_memory"


def measure(stack: Stack) -> list[Row]:
    """Peaks of processes that have just been started, in megabytes, as the kernel keeps them: file mappings are in."""
    limit = min(BYTES, shutil.disk_usage(stack.home.folder).free // DISK_PER_BYTE)
    stack.down(*LIMITS)
    stack.up()
    idle = {part: _peak(stack, part) for part in LIMITS}
    processes = {part: _pid(stack, part) for part in LIMITS}
    sent_rows = sent_bytes = 0

    def body() -> Iterator[bytes]:
        nonlocal sent_rows, sent_bytes
        for rows, piece in hires.pieces(limit // 40, bad=True):  # of the shortest rows, that would be too many
            if sent_bytes + len(piece) > limit:
                return
            sent_rows, sent_bytes = sent_rows + rows, sent_bytes + len(piece)
            yield piece

    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
        load = jobs.load(http, DATASET, body())
    peaks = {part: _peak(stack, part) for part in LIMITS}
    assert processes == {part: _pid(stack, part) for part in LIMITS}, "a process was started again meanwhile"
    assert load.outcome["rows_read"] == sent_rows, load
    psql.drop(stack, DATASET)
    what = f"memory, {sent_bytes / 1e9:.2f} GB, {sent_rows:,} rows"
    note = "" if limit == BYTES else " (the disk has no room for more)"
    return [
        Row(f"{what}: uploaded and loaded in{note}", f"{load.loaded:.0f} s"),
        *(
            Row(f"memory: {part}, {idle[part]:.0f} MB when idle", f"{peaks[part]:.0f} MB", None, target)
            for part, target in ((part, at_most(peaks[part], most, " MB")) for part, most in LIMITS.items())
        ),
    ]


def _pid(stack: Stack, part: str) -> int:
    return int(stack.home.pid(part).read_text().split()[0])


def _peak(stack: Stack, part: str) -> float:
    """Of the process and all that it has started."""
    group = _pid(stack, part)
    return sum(_high_water(folder) for folder in Path("/proc").glob("[0-9]*") if _group(folder) == group)


def _group(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return None  # it has ended


def _high_water(folder: Path) -> float:
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6
