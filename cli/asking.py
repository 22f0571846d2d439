"""Asking for a job that brings its own rows, and what becomes of it."""

import sys
import uuid
from collections.abc import Callable
from typing import Any, NoReturn

import click
import httpx2

from cli import importing, progress, show
from cli.answers import Job
from cli.following import follow
from cli.gateway import Gateway, route
from cli.retry import retry

no_wait_option = click.option("--no-wait", is_flag=True, help="Return as soon as the job is accepted.")


def ask(gateway: Gateway, path: str, body: Any) -> httpx2.Response:
    """Sends a request again if its answer is lost on the way, with the same key."""
    key = str(uuid.uuid4())
    return retry(lambda: gateway.post(path, body, key=key), on_away=lambda _: None)


def conclude(
    gateway: Gateway,
    job: Job,
    name: str,
    *,
    no_wait: bool,
    as_json: bool,
    tell: Callable[[Gateway, Job], None] = importing.tell,
) -> NoReturn:
    """Follows the job, tells what became of it, and ends the command with the exit code that says so."""
    if not no_wait:
        with progress.display(name) as display:
            job = follow(gateway, job, display)
    if as_json:
        show.answer(gateway.get(route("jobs", job.id)).content)
    elif no_wait:
        click.echo(f"Accepted as job {job.id}: `millrace jobs {job.id}` tells how it goes.")
    else:
        tell(gateway, job)
    sys.exit(0 if no_wait else importing.EXIT_CODES.get(job.status, 4))
