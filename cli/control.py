"""`millrace cancel`, `retry` and `why`: stop a job, run it again, explain its state."""

import datetime as dt
from typing import Generic, TypeVar

import click
import msgspec

from cli import progress
from cli.follow import follow_by_polling, print_and_exit
from cli.gateway import Gateway, decode, route
from cli.options import json_option, no_wait_option
from cli.outcomes import print_outcome
from cli.responses import Job
from cli.tables import print_json, print_table, printable
from shared.contracts.parts import Problem

CANCEL_SECONDS = 30
T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An open message of a job."""

    name: str
    queue: str
    state: str
    sent_at: dt.datetime | None
    due_at: dt.datetime | None
    attempts: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was given up or canceled."""

    name: str
    service: str
    reason: str
    problem: Problem


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that did not succeed."""

    name: str
    number: int
    worker: str
    began_at: dt.datetime
    problem: Problem | None


class Shown(msgspec.Struct, Generic[T], frozen=True):
    """Some entries, and the number of all."""

    total: int
    data: list[T]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is in its state."""

    summary: str
    next: str
    deadline_at: dt.datetime
    messages: Shown[Message]
    dead_letters: Shown[DeadLetter]
    attempts: Shown[Attempt]


@click.command()
@click.argument("job")
@json_option
def cancel(job: str, *, as_json: bool) -> None:
    """Stops a job. Rows that are loaded stay, and `retry` does the rest."""
    with Gateway.find() as gateway:
        body = gateway.order(route("jobs", job, "cancel"), wait=CANCEL_SECONDS).content
        if as_json:
            print_json(body)
        elif (stopped := decode(body, Job)).ended:
            print_outcome(gateway, stopped)
        else:
            click.echo(f"Job {job} is being canceled. Run `millrace why {job}` if it does not end.")


@click.command()
@click.argument("job")
@no_wait_option
@json_option
def retry(job: str, *, no_wait: bool, as_json: bool) -> None:
    """Runs a failed or canceled job again: what is loaded stays, the rest is done."""
    with Gateway.find() as gateway:
        running = decode(gateway.order(route("jobs", job, "retry"), wait=0).content, Job)
        if not no_wait:
            with progress.display(job) as display:
                running = follow_by_polling(gateway, running, display)
        print_and_exit(gateway, running, no_wait=no_wait, as_json=as_json)


@click.command()
@click.argument("job")
@json_option
def why(job: str, *, as_json: bool) -> None:
    """Explains the state of a job: which messages are open, where they wait, failed attempts, and what to do."""
    with Gateway.find() as gateway:
        body = gateway.get(route("jobs", job, "why")).content
    if as_json:
        print_json(body)
        return
    found = decode(body, Explanation)
    click.echo(printable(found.summary))
    click.echo(f"Next: {printable(found.next)}")
    click.echo(f"Deadline: {found.deadline_at:%Y-%m-%d %H:%M:%S} UTC")
    if found.messages.data:
        click.echo(f"\nOpen messages: {found.messages.total:,}")
        print_table(
            ("MESSAGE", "QUEUE", "STATE", "SENT AT", "AGAIN AT", "ATTEMPTS"),
            ([m.name, m.queue, m.state, _time(m.sent_at), _time(m.due_at), m.attempts] for m in found.messages.data),
        )
    if found.dead_letters.data:
        click.echo(f"\nMessages that did not end: {found.dead_letters.total:,}")
        print_table(
            ("MESSAGE", "SERVICE", "REASON", "ERROR"),
            ([d.name, d.service, d.reason, d.problem.detail] for d in found.dead_letters.data),
        )
    if found.attempts.data:
        click.echo(f"\nAttempts that did not succeed: {found.attempts.total:,}")
        print_table(
            ("MESSAGE", "ATTEMPT", "WORKER", "AT", "ERROR"),
            (
                [a.name, a.number, a.worker, _time(a.began_at), a.problem.detail if a.problem else "no end"]
                for a in found.attempts.data
            ),
        )


def _time(moment: dt.datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


COMMANDS: list[click.Command] = [cancel, retry, why]
