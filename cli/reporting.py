"""The commands about reports, and the rollups that they read."""

from typing import NoReturn

import click
import httpx2

from cli import counted, show
from cli.answers import Job, Report, Reports, Result
from cli.asking import ask, conclude, no_wait_option
from cli.client import json_option
from cli.counted import CountJob
from cli.gateway import Gateway, Parameters, decode, route

FORMS = ("table", "json", "csv", "ndjson", "svg")


@click.command()
@json_option
def reports(*, as_json: bool) -> None:
    """Show which reports there are, and whether they can be asked for."""
    with Gateway.find() as gateway:
        body = gateway.get(route("reports")).content
    if as_json:
        show.answer(body)
        return
    found = decode(body, Reports).data
    show.table(
        ("NAME", "STATE", "TITLE", "PARAMETERS"), ([one.name, one.state, one.title, _asked(one)] for one in found)
    )
    for one in found:
        warn(one)


@click.command()
@click.argument("name")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--format", "form", type=click.Choice(FORMS), default="table", show_default=True, help="How it is shown.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as --format csv.")
@json_option
def report(name: str, parameters: tuple[str, ...], form: str, *, as_csv: bool, as_json: bool) -> None:
    """Show a report; `millrace reports` tells which there are, and their parameters."""
    if wrong := [text for text in parameters if "=" not in text]:
        message = f"{wrong[0]!r} is not of the form KEY=VALUE, as in year=2021."
        raise click.UsageError(message)
    form = "csv" if as_csv else "json" if as_json else form
    given: Parameters = dict(text.split("=", 1) for text in parameters)
    with Gateway.find() as gateway:
        asked = {**given, "format": "json" if form == "table" else form}
        body = gateway.get(route("reports", name), asked).content
    if form in ("csv", "ndjson", "svg"):
        click.echo(body, nl=False)
    elif form == "json":
        show.answer(body)
    else:
        result = decode(body, Result)
        show.table(result.columns, ([row[column] for column in result.columns] for row in result.data))
        click.echo(freshness(result))


@click.command()
@click.argument("name", metavar="REPORT")
@no_wait_option
@json_option
def refresh(name: str, *, no_wait: bool, as_json: bool) -> None:
    """Bring a report up to what is loaded, and follow the job to its end.

    A refresh that runs already is followed, and no other begins. Exit codes as of `millrace import`.
    """
    with Gateway.find() as gateway:
        answer = ask(gateway, route("reports", name, "refreshes"), {})
        _conclude(gateway, answer, name, no_wait=no_wait, as_json=as_json)


@click.command()
@click.argument("rollup", metavar="DATASET.ROLLUP")
@no_wait_option
@json_option
def rebuild(rollup: str, *, no_wait: bool, as_json: bool) -> None:
    """Compute a rollup from the rows and mend what differs, while reports read it.

    A rebuild that runs already is followed, and no other begins. Exit codes as of `millrace import`.
    """
    dataset, dot, name = rollup.partition(".")
    if not dot:
        message = f"{rollup!r} is not of the form DATASET.ROLLUP, as in hired_employees.hires."
        raise click.UsageError(message)
    with Gateway.find() as gateway:
        answer = ask(gateway, route("datasets", dataset, "rollups", name, "rebuilds"), {})
        _conclude(gateway, answer, rollup, no_wait=no_wait, as_json=as_json)


def warn(one: Report) -> None:
    """Of a report that can't be asked for: why, and where in its file."""
    for error in one.errors:
        place = f"{error.file}:{error.line}" + (f":{error.column}" if error.column else "")
        click.echo(f"{click.style(one.state, fg='yellow')} {place}: {show.printable(error.detail)}", err=True)


def freshness(result: Result) -> str:
    """How many rows, of when, and what is not in them."""
    told = f"{len(result.data):,} rows{' and more' if result.truncated else ''}, version {result.version:,}"
    told += f", computed at {result.computed_at:%Y-%m-%d %H:%M:%S} UTC"
    if result.lag_versions:
        told += f"; {result.lag_versions:,} versions behind, since {result.lag_seconds:.1f} s"
    return told


def _asked(one: Report) -> str:
    return " ".join(
        f"{parameter.name}={parameter.type}" if parameter.default is None else f"[{parameter.name}={parameter.default}]"
        for parameter in one.parameters
    )


def _conclude(gateway: Gateway, answer: httpx2.Response, name: str, *, no_wait: bool, as_json: bool) -> NoReturn:
    if answer.headers.get("Millrace-Attached"):
        click.echo("Such a job is under way; no other was begun.", err=True)
    conclude(gateway, decode(answer.content, Job), name, no_wait=no_wait, as_json=as_json, tell=_tell)


def _tell(gateway: Gateway, job: Job) -> None:
    counted.tell(decode(gateway.get(route("jobs", job.id)).content, CountJob))


COMMANDS: list[click.Command] = [reports, report, refresh, rebuild]
