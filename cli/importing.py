"""An import from its file to its outcome: what `millrace import` and the demo do."""

from pathlib import Path
from typing import IO

import click

from cli import progress, show
from cli.answers import FailedRows, Job
from cli.following import follow
from cli.gateway import Gateway, Parameters, route
from cli.uploading import upload

SHOWN_ROWS = 5
EXIT_CODES = {"succeeded": 0, "partial": 3, "failed": 4}


def load(gateway: Gateway, file: IO[bytes], name: str, dataset: str, parameters: Parameters, *, wait: bool) -> Job:
    """The job at its end, or as it was accepted. The end of `name` says what kind of file it is."""
    with progress.display(show.printable(name)) as display:
        job = upload(gateway, file, name, dataset, parameters, display)
        return follow(gateway, job, display) if wait else job


def load_path(gateway: Gateway, path: Path, dataset: str) -> Job:
    """The job at its end."""
    with path.open("rb") as file:
        return load(gateway, file, path.name, dataset, {}, wait=True)


def tell(gateway: Gateway, job: Job) -> None:
    """The outcome with the first failed rows."""
    show.outcome(job)
    if job.outcome.failed:
        click.echo()
        show.reasons(failed_rows(gateway, job.id, SHOWN_ROWS).data)
        more = job.outcome.failed - SHOWN_ROWS
        click.echo(f"{f'{more:,} more; all' if more > 0 else 'In full'}: millrace failed {job.id}")


def failed_rows(gateway: Gateway, job: str, limit: int) -> FailedRows:
    """The first ones, in the order of the file."""
    return gateway.read(FailedRows, route("jobs", job, "failed-rows"), {"limit": limit})
