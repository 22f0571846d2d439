"""`millrace dead-letters`: lists messages that were given up, redrives or discards them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from cli.errors import NotSettled
from cli.follow import post
from cli.gateway import Gateway, Parameters, decode, route
from cli.options import json_option
from cli.tables import Count, print_json, print_table

Command = TypeVar("Command", bound=Callable[..., Any])

PAGE = 200
WAIT_SECONDS = 30
PATH = route("ops", "dead-letters")
REASONS = ("failed", "poison", "undecodable", "too_large", "canceled")
STATES = ("dead", "redriven", "discarded")


class LetterProblem(msgspec.Struct, frozen=True):
    """Why the message was given up."""

    code: str
    detail: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a service has given up."""

    id: str
    service: str
    message: str
    dataset: str
    job: str | None
    reason: str
    problem: LetterProblem
    age_seconds: float


class Letters(msgspec.Struct, frozen=True):
    """A page of letters, newest first; `total` counts all that match."""

    data: list[DeadLetter]
    next: str | None
    total: int


class LetterCount(msgspec.Struct, frozen=True):
    """Number of letters with the same service, message and reason."""

    service: str
    message: str
    reason: str
    count: int


class Settlement(msgspec.Struct, frozen=True):
    """What a request matches; `settled` is None while services still act."""

    matched: int
    by: list[LetterCount]
    not_redrivable: int
    more: bool
    settled: int | None


_filters = (
    click.option("--service", help="Only messages that this service has given up."),
    click.option("--message", help="Only messages of this name, for example load_chunk."),
    click.option("-d", "--dataset", help="Only messages about this dataset."),
    click.option("--job", help="Only messages of this job."),
    click.option("--reason", type=click.Choice(REASONS), help="Only this reason. Default: all but canceled."),
    click.option("--older-than", type=click.FloatRange(min=0), help="Given up more than so many seconds ago."),
    click.option("--newer-than", type=click.FloatRange(min=0), help="Given up in the last so many seconds."),
)
_settle_options = (
    click.option("--id", "ids", multiple=True, help="Only the message with this ID; may be repeated."),
    click.option("--all", "take_all", is_flag=True, help="All messages, if there is no other filter."),
    click.option("--dry-run", is_flag=True, help="Only show what would be taken."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Adds the options to a command, in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group("dead-letters", invoke_without_command=True)
@with_options(*_filters)
@click.option("--state", type=click.Choice(STATES), default="dead", show_default=True, help="Only in this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Maximum number of messages.")
@json_option
@click.pass_context
def dead_letters(context: click.Context, /, limit: int, *, as_json: bool, **filters: Any) -> None:
    """Lists messages that were given up, newest first."""
    if context.invoked_subcommand is not None:
        if any(value is not None for name, value in filters.items() if name != "state"):
            raise click.UsageError(f"Filters of `{context.invoked_subcommand}` come after its name.")
        return
    with Gateway.find() as gateway:
        body = gateway.get(PATH, {**filters, "limit": min(limit, PAGE)}).content
        if as_json:
            print_json(body)
        else:
            _print_letters(gateway, filters, decode(body, Letters), limit)


@dead_letters.command()
@with_options(*_filters, *_settle_options)
def redrive(*, take_all: bool, dry_run: bool, yes: bool, **filters: Any) -> None:
    """Sends messages to their queues again, with all attempts before them.

    Mend the cause first. Ends with 1 if a service has not acted within half a minute.
    """
    _settle("redrive", "Redriven", filters, take_all=take_all, dry_run=dry_run, yes=yes)


@dead_letters.command()
@with_options(*_filters, *_settle_options)
def discard(*, take_all: bool, dry_run: bool, yes: bool, **filters: Any) -> None:
    """Marks messages as discarded: they are never handled.

    Ends with 1 if a service has not acted within half a minute.
    """
    _settle("discard", "Discarded", filters, take_all=take_all, dry_run=dry_run, yes=yes)


def _settle(verb: str, done: str, filters: dict[str, Any], *, take_all: bool, dry_run: bool, yes: bool) -> None:
    body = {name: value for name, value in filters.items() if value not in (None, ())} | {"all": take_all}
    if body == {"all": False}:
        raise click.UsageError("Without any filter, nothing is taken: name one, or --all.")
    with Gateway.find() as gateway:
        preview = decode(post(gateway, f"{PATH}/{verb}", {**body, "dry_run": True}).content, Settlement)
        print_table(
            ("SERVICE", "MESSAGE", "REASON", "MESSAGES"),
            ([group.service, group.message, group.reason, Count(group.count)] for group in preview.by),
        )
        if preview.not_redrivable and verb == "redrive":
            click.echo(f"{preview.not_redrivable:,} of them can't be redriven, only discarded.")
        if dry_run or not preview.matched:
            click.echo(f"Messages that match: {preview.matched:,}.")
            return
        if not yes:
            click.confirm(f"{verb.capitalize()} them?", abort=True)
        click.echo(f"{done} messages: {_settle_all(gateway, verb, body):,}.")


def _settle_all(gateway: Gateway, verb: str, body: dict[str, Any]) -> int:
    """Returns how many messages were settled, in as many requests as it takes. Raises NotSettled."""
    total = 0
    while True:
        response = post(gateway, f"{PATH}/{verb}", body, wait=WAIT_SECONDS)
        settlement = decode(response.content, Settlement)
        if settlement.settled is None:
            raise NotSettled("Accepted, not done yet. Run `millrace dead-letters` to see the result.")
        total += settlement.settled
        if not settlement.more:
            return total


def _print_letters(gateway: Gateway, filters: Parameters, page: Letters, limit: int) -> None:
    letters, total = list(page.data), page.total
    while page.next is not None and len(letters) < limit:
        parameters = {**filters, "after": page.next, "limit": min(limit - len(letters), PAGE)}
        page = gateway.read(Letters, PATH, parameters)
        letters += page.data
    if not letters:
        click.echo("No message matches.")
        return
    print_table(
        ("ID", "SERVICE", "MESSAGE", "DATASET", "JOB", "REASON", "AGE", "PROBLEM"),
        (
            [
                letter.id,
                letter.service,
                letter.message,
                letter.dataset,
                letter.job,
                letter.reason,
                f"{letter.age_seconds:,.0f} s",
                letter.problem.detail,
            ]
            for letter in letters
        ),
    )
    click.echo(f"{len(letters):,} of {total:,} messages")


COMMANDS: list[click.Command] = [dead_letters]
