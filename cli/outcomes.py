"""Prints the outcome of a job that has ended."""

from collections.abc import Callable

import click

from cli.gateway import Gateway, route
from cli.responses import FailedRows, Job
from cli.tables import Count, print_table, printable

FAILED_ROWS_SHOWN = 5
COLOURS = {"succeeded": "green", "partial": "yellow", "failed": "red", "canceled": "yellow"}
COUNTS = ("rows_read", "inserted", "updated", "unchanged", "duplicates", "failed")
RARE_COUNTS = ("checked", "deleted")
"""Shown if not 0: `checked` is set by --validate-only, `deleted` by --mode replace."""

RESULT_PRINTERS: dict[str, Callable[[bytes], None]] = {}
"""Prints a job with its result, by kind. A kind that loads no rows is added by the module of its command."""


def loads_rows(job: Job) -> bool:
    """Returns whether the counts of rows mean something for a job of this kind."""
    return job.kind not in RESULT_PRINTERS


def print_outcome(gateway: Gateway, job: Job, *, limit: int | None = None) -> None:
    """Prints the status with the result (its first `limit` items), or with counts and the first failed rows."""
    if print_result := RESULT_PRINTERS.get(job.kind):
        print_result(gateway.get(route("jobs", job.id), {"limit": limit}).content)
        return
    print_status(job)
    if job.outcome.failed:
        click.echo()
        page = gateway.read(FailedRows, route("jobs", job.id, "failed-rows"), {"limit": FAILED_ROWS_SHOWN})
        print_table(("LINE", "COLUMN", "REASON"), ([r.line, e.column, e.detail] for r in page.data for e in r.errors))
        more = job.outcome.failed - FAILED_ROWS_SHOWN
        click.echo(f"{f'{more:,} more. All' if more > 0 else 'Details'}: millrace failed {job.id}")


def print_status(job: Job) -> None:
    """Prints the status, the counts if the job loads rows, and the job's error or warning."""
    seconds = ((job.finished_at or job.created_at) - job.created_at).total_seconds()
    click.echo(f"Job {job.id}: {click.style(job.status, fg=COLOURS.get(job.status, 'red'))} after {seconds:.1f} s")
    counts = job.outcome
    if loads_rows(job):
        names = [*COUNTS, *(name for name in RARE_COUNTS if getattr(counts, name))]
        columns = [name.replace("_", " ").upper() for name in names]
        print_table(columns, [[Count(getattr(counts, name)) for name in names]])
    for problem, label in ((job.error, ""), (job.warning, "Warning: ")):
        if problem is not None:
            click.echo(f"{label}{printable(problem.detail)}")
            if problem.hint:
                click.echo(f"Hint: {printable(problem.hint)}")
    if job.error is None and counts.unchanged and not counts.inserted and not counts.updated:
        click.echo(f"Nothing changed: {job.dataset} already has all these rows.")
