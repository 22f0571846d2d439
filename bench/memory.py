"""Peak memory of gateway and ingestor for the largest upload."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import hires, jobs, psql
from bench.results import Row, at_most
from bench.stack import Stack

BYTES = 2_140_000_000
DISK_PER_BYTE = 7  # spool, table, keys and WAL
LIMITS = {"gateway": 150, "ingestor": 600}
DATASET = "bench_memory"


def measure(stack: Stack) -> list[Row]:
    """Restarts both processes and returns their peaks in MB (VmHWM, which includes file mappings)."""
    size = min(BYTES, shutil.disk_usage(stack.home.folder).free // DISK_PER_BYTE)
    stack.down(*LIMITS)
    stack.up()
    idle = {part: read(stack, part, "VmHWM") for part in LIMITS}
    processes = {part: _pid(stack, part) for part in LIMITS}
    sent_rows = sent_bytes = 0

    def body() -> Iterator[bytes]:
        nonlocal sent_rows, sent_bytes
        for rows, content in hires.batches(size // 40, bad=True):  # more rows than fit
            if sent_bytes + len(content) > size:
                return
            sent_rows, sent_bytes = sent_rows + rows, sent_bytes + len(content)
            yield content

    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
        load = jobs.load(http, DATASET, body())
    peaks = {part: read(stack, part, "VmHWM") for part in LIMITS}
    assert processes == {part: _pid(stack, part) for part in LIMITS}, "a process was restarted"
    assert load.outcome["rows_read"] == sent_rows, load
    psql.drop(stack, DATASET)
    label = f"memory, {sent_bytes / 1e9:.2f} GB, {sent_rows:,} rows"
    note = "" if size == BYTES else " (the disk has no room for more)"
    return [
        Row(f"{label}: uploaded and loaded in{note}", f"{load.loaded:.0f} s"),
        *(
            Row(f"memory: {part}, {idle[part]:.0f} MB when idle", f"{peaks[part]:.0f} MB", None, target)
            for part, target in ((part, at_most(peaks[part], limit, " MB")) for part, limit in LIMITS.items())
        ),
    ]


def _pid(stack: Stack, part: str) -> int:
    return int(stack.home.pid(part).read_text().split()[0])


def read(stack: Stack, part: str, field: str) -> float:
    """Returns a field of the status of the process and its children, in MB: VmHWM is the peak, VmRSS the present."""
    group = _pid(stack, part)
    return sum(_read(folder, field) for folder in Path("/proc").glob("[0-9]*") if _group(folder) == group)


def _group(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return None  # the process has ended


def _read(folder: Path, field: str) -> float:
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024 / 1e6
