"""How far an import is: bars on a terminal, plain lines everywhere else, always on standard error."""

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

from cli.answers import Job

LINE_EVERY_SECONDS = 1.0
LONGEST_NAME = 24
AWAY = "the gateway does not answer; trying again"


class Display(Protocol):
    """What an import tells while it goes on."""

    def sent(self, done: int, total: int | None) -> None: ...
    def moved(self, job: Job) -> None: ...
    def away(self) -> None: ...


class Bars:
    """One for the upload, one for the job, and under them what has become of the rows."""

    def __init__(self, bars: Progress, rows: Text, name: str) -> None:
        self._bars = bars
        self._rows = rows
        self._name = name
        self._upload: TaskID | None = None
        self._job: TaskID | None = None

    def sent(self, done: int, total: int | None) -> None:
        self._rows.plain = ""
        if self._upload is None:
            self._upload = self._bars.add_task(f"upload {self._name}", total=None, told="")
        # An empty file is all there at once, but a bar of nothing would never be full.
        bar = None if total is None else max(total, 1)
        self._bars.update(self._upload, completed=bar if done == total else done, total=bar, told=_sent(done, total))

    def moved(self, job: Job) -> None:
        if self._job is None:
            if self._upload is not None:
                self._bars.update(self._upload, completed=1, total=1)
            self._job = self._bars.add_task("", total=100, told="")
        loaded = _loaded(job) if job.has_rows else ""
        self._bars.update(self._job, description=_doing(job), completed=job.progress.percent, told=loaded)
        self._rows.plain = _rows(job) if job.has_rows else ""

    def away(self) -> None:
        self._rows.plain = AWAY


class Lines:
    """At most one a second, but for how the upload and the job end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def sent(self, done: int, total: int | None) -> None:
        self._say(f"upload {self._name}: {_sent(done, total)}", ends=done == total)

    def moved(self, job: Job) -> None:
        told = f": {_loaded(job)}, {_rows(job)}" if job.has_rows else ""
        self._say(f"{_doing(job)} {job.progress.percent:.1f} %{told}", ends=job.ended)

    def away(self) -> None:
        self._say(AWAY)

    def _say(self, line: str, *, ends: bool = False) -> None:
        now = time.monotonic()
        if ends or now - self._last >= LINE_EVERY_SECONDS:
            self._last = now
            print(line, file=sys.stderr, flush=True)


@contextmanager
def display(name: str) -> Iterator[Display]:
    """For the import of a file of that name."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(name)
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        console=console,
    )
    rows = Text(no_wrap=True, overflow="ellipsis")
    with Live(Group(bars, rows), console=console):
        yield Bars(bars, rows, name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def _sent(done: int, total: int | None) -> str:
    return decimal(done) if total is None else f"{decimal(done)} of {decimal(total)}"


def _doing(job: Job) -> str:
    return job.status if job.ended or job.status == "queued" else job.phase


def _loaded(job: Job) -> str:
    return _sent(job.progress.bytes_done, job.progress.bytes_total)


def _rows(job: Job) -> str:
    at = job.progress
    return (
        f"{at.rows_read:,} rows read, {at.rows_written:,} written, {at.rows_failed:,} failed,"
        f" {at.rows_per_second:,.0f} rows/s"
    )
