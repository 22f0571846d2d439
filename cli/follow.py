"""Submits a job, follows it to its end, and exits with the code of its status."""

import contextlib
import sys
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

import click
import httpx2

from cli import progress
from cli.errors import GatewayUnavailable, RequestRejected
from cli.gateway import Gateway, decode, route
from cli.outcomes import print_outcome
from cli.progress import Display
from cli.responses import Job, JobEvent
from cli.retry import constant_pauses, retry
from cli.tables import print_json

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
WAIT_SECONDS = 2
EXIT_CODES = {"succeeded": 0, "partial": 3, "failed": 4, "canceled": 5}


def post(gateway: Gateway, path: str, body: Any, *, wait: int = 0) -> httpx2.Response:
    """Posts with one idempotency key, so that a retry after a lost response repeats nothing."""
    key = str(uuid.uuid4())
    return retry(lambda: gateway.post(path, body, key=key, wait=wait), on_failure=lambda _: None)


def submit(gateway: Gateway, path: str, body: Any) -> Job:
    """Returns the accepted job; prints a notice if it is one that was already running."""
    response = post(gateway, path, body)
    if response.headers.get("Millrace-Attached"):
        click.echo("This is already running; no second job was started.", err=True)
    return decode(response.content, Job)


def follow(gateway: Gateway, job: Job, display: Display) -> Job:
    """Returns the job once it has ended. Raises GatewayUnavailable if the gateway does not answer for a minute."""
    hint = f"The job continues. Run `millrace jobs {job.id}` to see its status."
    try:
        for update in _updates(gateway, job, display):
            display.show_job(update)
            job = update
    except GatewayUnavailable as failure:
        raise GatewayUnavailable(f"{failure.message}\n{hint}") from failure
    except KeyboardInterrupt:
        raise click.ClickException(f"Interrupted. {hint} To stop it, run `millrace cancel {job.id}`.") from None
    return job


def follow_by_polling(gateway: Gateway, job: Job, display: Display) -> Job:
    """Follows a job that was retried: its event stream begins with the end of its earlier run."""
    display.show_job(job)
    while not job.ended:
        display.show_job(job := _poll(gateway, job.id, display))
    return job


def finish(
    gateway: Gateway, job: Job, name: str, *, no_wait: bool, as_json: bool, limit: int | None = None
) -> NoReturn:
    """Follows the job, prints it with at most `limit` results, and exits."""
    if not no_wait:
        with progress.display(name) as display:
            job = follow(gateway, job, display)
    print_and_exit(gateway, job, no_wait=no_wait, as_json=as_json, limit=limit)


def print_and_exit(gateway: Gateway, job: Job, *, no_wait: bool, as_json: bool, limit: int | None = None) -> NoReturn:
    """Prints a job that has ended, or was accepted, and exits."""
    if as_json:
        print_json(gateway.get(route("jobs", job.id), {"limit": limit}).content)
    elif no_wait:
        click.echo(f"Accepted as job {job.id}. Run `millrace jobs {job.id}` to see its status.")
    else:
        print_outcome(gateway, job, limit=limit)
    sys.exit(0 if no_wait else EXIT_CODES.get(job.status, 4))


def _updates(gateway: Gateway, job: Job, display: Display) -> Iterator[Job]:
    """Yields the job from its event stream; polls once after each interruption of the stream."""
    yield job
    after = ""
    while not job.ended:
        with contextlib.suppress(GatewayUnavailable, RequestRejected):
            for event in gateway.events(job.id, after):
                after = event.id or after
                update = decode(event.data.encode(), JobEvent).job
                if update is not None and update.progress.percent >= job.progress.percent:
                    yield (job := update)
        if not job.ended:
            yield (job := _poll(gateway, job.id, display))


def _poll(gateway: Gateway, job: str, display: Display) -> Job:
    return retry(
        lambda: gateway.read(Job, route("jobs", job), wait=WAIT_SECONDS),
        on_failure=lambda _: display.show_retry(),
        pauses=constant_pauses(PAUSE_SECONDS, PATIENCE_SECONDS),
    )
