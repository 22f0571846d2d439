"""Answers as people read them: tables and lines on standard output."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.answers import Dataset, FailedRow, FailedRows, Job, Schedule

LONGEST_CELL = 160
PIPE_WIDTH = 10_000
COLOURS = {"succeeded": "green", "partial": "yellow", "failed": "red"}
COUNTS = ("rows_read", "inserted", "updated", "unchanged", "duplicates", "failed")
RARE_COUNTS = ("checked", "deleted")
"""Of jobs that only check, or that replace."""


def answer(body: bytes) -> None:
    """JSON as it came, on lines of its own."""
    click.echo(msgspec.json.format(body))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Numbers to the right. Into a pipe go whole lines, without a frame."""
    console = Console(highlight=False)
    rows = list(rows)
    shown = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float | Decimal) for row in rows)
        shown.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    if console.is_terminal:
        console.print(shown)
        return
    console.width = PIPE_WIDTH
    with console.capture() as captured:
        console.print(shown)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def outcome(job: Job) -> None:
    """What has become of the rows, and of the job."""
    seconds = ((job.finished_at or job.created_at) - job.created_at).total_seconds()
    colour = COLOURS.get(job.status, "red")
    click.echo(f"Job {job.id}: {click.style(job.status, fg=colour)} after {seconds:.1f} s")
    counts = job.outcome
    names = [*COUNTS, *(name for name in RARE_COUNTS if getattr(counts, name))]
    if job.has_rows:
        table([name.replace("_", " ").upper() for name in names], [[Counted(getattr(counts, name)) for name in names]])
    for problem, label in ((job.error, ""), (job.warning, "Warning: ")):
        if problem is not None:
            click.echo(f"{label}{printable(problem.detail)}")
            if problem.hint:
                click.echo(f"Hint: {printable(problem.hint)}")
    if job.error is None and counts.unchanged and not counts.inserted and not counts.updated:
        click.echo(f"Nothing changed: {job.dataset} had all these rows already.")


class Counted(int):
    """A count of things, written with separators; an id or a year is not."""

    def __str__(self) -> str:
        return f"{int(self):,}"


def jobs(found: Iterable[Job]) -> None:
    """A line each."""
    columns = ("ID", "DATASET", "KIND", "STATUS", "PERCENT", "ROWS READ", "FAILED", "CREATED AT")
    table(
        columns,
        (
            [
                job.id,
                job.dataset,
                job.kind,
                job.status,
                job.progress.percent,
                Counted(job.outcome.rows_read),
                Counted(job.outcome.failed),
                f"{job.created_at:%Y-%m-%d %H:%M:%S}",
            ]
            for job in found
        ),
    )


def schedules(found: Iterable[Schedule]) -> None:
    """A line each, with what became of its last ticks, the newest first."""
    columns = ("DATASET", "SOURCE", "CRON", "TIME ZONE", "OVERLAP", "NEXT AT (UTC)", "LAST TICKS")
    table(
        columns,
        (
            [
                one.dataset,
                one.source,
                one.cron,
                one.timezone,
                one.overlap,
                f"{one.next_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(f"{tick.due_at:%m-%d %H:%M} {tick.fate}" for tick in one.ticks),
            ]
            for one in found
        ),
    )


def reasons(rows: Iterable[FailedRow]) -> None:
    """Why rows were refused."""
    table(("LINE", "COLUMN", "REASON"), ([row.line, e.column, e.detail] for row in rows for e in row.errors))


def failures(found: FailedRows) -> None:
    """How many rows failed in which way."""
    table(("ROWS", "CODE", "COLUMN"), ([Counted(count.rows), count.code, count.column] for count in found.counts))
    kept = "all" if found.kept == found.total else f"{found.kept:,}"
    click.echo(f"{found.total:,} rows failed, {kept} of them are kept.")


def failed_rows(rows: Iterable[FailedRow]) -> None:
    """Everything about refused rows, a line for each error."""
    columns = ("LINE", "COLUMN", "CODE", "REASON", "RAW")
    table(columns, ([row.line, e.column, e.code, e.detail, row.raw] for row in rows for e in row.errors))


def dataset(found: Dataset) -> None:
    """Its fields."""
    declared = found.declaration
    click.echo(
        f"{found.name}: {found.title}, key: {', '.join(declared.primary_key) or 'none'}, version {found.version}"
    )
    columns = ("FIELD", "TYPE", "REQUIRED", "FILLED BY", "REFERENCES", "DESCRIPTION")
    table(
        columns,
        (
            [f.name, f.type, f.required, "Millrace" if f.generated else "input", f.references, f.description]
            for f in declared.fields
        ),
    )


def printable(text: str) -> str:
    """Line ends and control characters as escapes: data must not steer the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, Text):
        value.truncate(LONGEST_CELL, overflow="ellipsis")
        return value
    if isinstance(value, bool | dict | list):
        value = json.dumps(value, default=str, ensure_ascii=False)
    text = printable(str(value))
    return Text(text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…")
