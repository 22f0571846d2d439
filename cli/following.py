"""A job, watched until it ends, whatever becomes of the gateway meanwhile."""

import contextlib
from collections.abc import Iterator

import click

from cli.answers import Job, Told
from cli.gateway import Gateway, decode, route
from cli.progress import Display
from cli.refusals import Away, Refused
from cli.retry import every, retry

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
WAIT_SECONDS = 2


def follow(gateway: Gateway, job: Job, display: Display) -> Job:
    """The job once it has ended. Raises Away when the gateway is gone for a minute."""
    goes_on = f"The job goes on: `millrace jobs {job.id}` tells how it ended."
    try:
        for moved in _moves(gateway, job, display):
            display.moved(moved)
            job = moved
    except Away as away:
        message = f"{away.message}\n{goes_on}"
        raise Away(message) from away
    except KeyboardInterrupt:
        message = f"No longer watching. {goes_on}"
        raise click.ClickException(message) from None
    return job


def _moves(gateway: Gateway, job: Job, display: Display) -> Iterator[Job]:
    """By its events; each time they break off, as between any two of them, by asking."""
    yield job
    after = ""
    while not job.ended:
        with contextlib.suppress(Away, Refused):
            for event in gateway.events(job.id, after):
                after = event.id or after
                told = decode(event.data.encode(), Told).job
                if told is not None and told.progress.percent >= job.progress.percent:
                    yield (job := told)
        if not job.ended:
            yield (job := _ask(gateway, job.id, display))


def _ask(gateway: Gateway, job: str, display: Display) -> Job:
    return retry(
        lambda: gateway.read(Job, route("jobs", job), wait=WAIT_SECONDS),
        on_away=lambda _: display.away(),
        pauses=every(PAUSE_SECONDS, PATIENCE_SECONDS),
    )
