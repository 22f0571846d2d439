"""Progress of uploads and jobs on standard error: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from cli.outcomes import loads_rows
from cli.responses import Job

LINE_EVERY_SECONDS = 1.0
MAX_NAME_LENGTH = 24
RETRYING = "the gateway does not answer; retrying"


class Display(Protocol):
    """Shows the progress of an upload and of its job."""

    def show_upload(self, done: int, total: int | None) -> None: ...
    def show_job(self, job: Job) -> None: ...
    def show_retry(self) -> None: ...


class Bars:
    """A bar for the upload, a bar for the job, and below them the counts of rows."""

    def __init__(self, bars: Progress, rows: Text, name: str) -> None:
        self._bars = bars
        self._rows = rows
        self._name = name
        self._upload: TaskID | None = None
        self._job: TaskID | None = None

    def show_upload(self, done: int, total: int | None) -> None:
        self._rows.plain = ""
        if self._upload is None:
            self._upload = self._bars.add_task(f"upload {self._name}", total=None, detail="")
        # A bar with total 0 would never be full: an empty file counts as 1.
        bar = None if total is None else max(total, 1)
        completed = bar if done == total else done
        self._bars.update(self._upload, completed=completed, total=bar, detail=_bytes(done, total))

    def show_job(self, job: Job) -> None:
        if self._job is None:
            if self._upload is not None:
                self._bars.update(self._upload, completed=1, total=1)
            self._job = self._bars.add_task("", total=100, detail="")
        detail = _job_bytes(job) if loads_rows(job) else ""
        self._bars.update(self._job, description=_phase(job), completed=job.progress.percent, detail=detail)
        self._rows.plain = _row_counts(job) if loads_rows(job) else ""

    def show_retry(self) -> None:
        self._rows.plain = RETRYING


class Lines:
    """Prints at most one line a second, and always the last line of the upload and of the job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def show_upload(self, done: int, total: int | None) -> None:
        self._print(f"upload {self._name}: {_bytes(done, total)}", last=done == total)

    def show_job(self, job: Job) -> None:
        detail = f": {_job_bytes(job)}, {_row_counts(job)}" if loads_rows(job) else ""
        self._print(f"{_phase(job)} {job.progress.percent:.1f} %{detail}", last=job.ended)

    def show_retry(self) -> None:
        self._print(RETRYING)

    def _print(self, line: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._last >= LINE_EVERY_SECONDS:
            self._last = now
            print(line, file=sys.stderr, flush=True)


@contextmanager
def display(name: str) -> Iterator[Display]:
    """Yields the display for an upload of this name, or for a job alone."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(name)
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
    )
    rows = Text(no_wrap=True, overflow="ellipsis")
    with Live(Group(bars, rows), console=console):
        yield Bars(bars, rows, name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…")


def _bytes(done: int, total: int | None) -> str:
    return decimal(done) if total is None else f"{decimal(done)} of {decimal(total)}"


def _phase(job: Job) -> str:
    return job.status if job.ended or job.status == "queued" else job.phase


def _job_bytes(job: Job) -> str:
    return _bytes(job.progress.bytes_done, job.progress.bytes_total)


def _row_counts(job: Job) -> str:
    progress = job.progress
    return (
        f"{progress.rows_read:,} rows read, {progress.rows_written:,} written, {progress.rows_failed:,} failed,"
        f" {progress.rows_per_second:,.0f} rows/s"
    )
