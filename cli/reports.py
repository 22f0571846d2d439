"""`millrace reports`, `report`, `refresh` and `rebuild`: reports and their rollups."""

import datetime as dt
from typing import Any

import click
import msgspec

from cli.follow import finish, submit
from cli.gateway import Gateway, Parameters, decode, route
from cli.options import json_option, no_wait_option
from cli.outcomes import RESULT_PRINTERS, print_status
from cli.responses import Collection, Job
from cli.tables import print_json, print_table, printable

FORMATS = ("table", "json", "csv", "ndjson", "svg")


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of a report; optional if it has a default."""

    name: str
    type: str
    default: Any = None


class ReportError(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a report, with its place in the file."""

    file: str
    line: int
    column: int | None
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A declared report; only one in state `ready` can be run."""

    name: str
    title: str
    state: str
    parameters: list[Parameter]
    errors: list[ReportError]


class ReportResult(msgspec.Struct, frozen=True):
    """Rows of a report and their freshness."""

    data: list[dict[str, Any]]
    columns: list[str]
    computed_at: dt.datetime
    version: int = 0
    lag_versions: int = 0
    lag_seconds: float = 0
    truncated: bool = False


class RefreshResult(msgspec.Struct, frozen=True):
    """Versions of the datasets that the report now includes."""

    versions: dict[str, int]
    chunks: int


class RefreshJob(Job, frozen=True, kw_only=True):
    """A refresh job; `result` is None if it has not succeeded."""

    report: str = ""
    result: RefreshResult | None = None


class RebuildResult(msgspec.Struct, frozen=True):
    """Number of groups of the rollup, and of those that were wrong."""

    groups: int
    mended: int


class RebuildJob(Job, frozen=True, kw_only=True):
    """A rebuild job; `result` is None if it has not succeeded."""

    rollup: str = ""
    result: RebuildResult | None = None


@click.command()
@json_option
def reports(*, as_json: bool) -> None:
    """Lists all reports with their state and parameters."""
    with Gateway.find() as gateway:
        body = gateway.get(route("reports")).content
    if as_json:
        print_json(body)
        return
    rows = decode(body, Collection[Report]).data
    columns = ("NAME", "STATE", "TITLE", "PARAMETERS")
    print_table(columns, ([report.name, report.state, report.title, _parameters(report)] for report in rows))
    for report in rows:
        print_errors(report)


@click.command()
@click.argument("name")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Output format.")
@click.option("--csv", "as_csv", is_flag=True, help="Same as --format csv.")
@json_option
def report(name: str, parameters: tuple[str, ...], form: str, *, as_csv: bool, as_json: bool) -> None:
    """Runs a report. `millrace reports` lists reports and their parameters."""
    if wrong := [text for text in parameters if "=" not in text]:
        raise click.UsageError(f"{wrong[0]!r} must have the form KEY=VALUE, for example year=2021.")
    form = "csv" if as_csv else "json" if as_json else form
    query: Parameters = {
        **dict(text.split("=", 1) for text in parameters),
        "format": "json" if form == "table" else form,
    }
    with Gateway.find() as gateway:
        body = gateway.get(route("reports", name), query).content
    if form in ("csv", "ndjson", "svg"):
        click.echo(body, nl=False)
    elif form == "json":
        print_json(body)
    else:
        result = decode(body, ReportResult)
        print_table(result.columns, ([row[column] for column in result.columns] for row in result.data))
        click.echo(_freshness(result))


@click.command()
@click.argument("name", metavar="REPORT")
@no_wait_option
@json_option
def refresh(name: str, *, no_wait: bool, as_json: bool) -> None:
    """Waits until a report includes everything loaded so far.

    If a refresh of the report is running, this command follows it instead of starting another. Exit codes: see
    `millrace import`.
    """
    with Gateway.find() as gateway:
        job = submit(gateway, route("reports", name, "refreshes"), {})
        finish(gateway, job, name, no_wait=no_wait, as_json=as_json)


@click.command()
@click.argument("rollup", metavar="DATASET.ROLLUP")
@no_wait_option
@json_option
def rebuild(rollup: str, *, no_wait: bool, as_json: bool) -> None:
    """Computes a rollup from its rows and corrects differences. Reports stay available.

    If a rebuild of the rollup is running, this command follows it instead of starting another. Exit codes: see
    `millrace import`.
    """
    dataset, dot, name = rollup.partition(".")
    if not dot:
        raise click.UsageError(f"{rollup!r} must have the form DATASET.ROLLUP, for example hired_employees.hires.")
    with Gateway.find() as gateway:
        job = submit(gateway, route("datasets", dataset, "rollups", name, "rebuilds"), {})
        finish(gateway, job, rollup, no_wait=no_wait, as_json=as_json)


def print_errors(report: Report) -> None:
    """Prints the errors of a broken report to standard error."""
    for error in report.errors:
        place = f"{error.file}:{error.line}" + (f":{error.column}" if error.column else "")
        click.echo(f"{click.style(report.state, fg='yellow')} {place}: {printable(error.detail)}", err=True)


def _freshness(result: ReportResult) -> str:
    text = f"{len(result.data):,} rows{' (truncated)' if result.truncated else ''}, version {result.version:,}"
    text += f", computed at {result.computed_at:%Y-%m-%d %H:%M:%S} UTC"
    if result.lag_versions:
        text += f"; {result.lag_versions:,} versions behind, for {result.lag_seconds:.1f} s"
    return text


def _parameters(report: Report) -> str:
    return " ".join(
        f"{parameter.name}={parameter.type}" if parameter.default is None else f"[{parameter.name}={parameter.default}]"
        for parameter in report.parameters
    )


def _print_refresh(body: bytes) -> None:
    job = decode(body, RefreshJob)
    print_status(job)
    if job.result is not None:
        versions = ", ".join(f"{name} {version:,}" for name, version in job.result.versions.items())
        click.echo(
            f"{job.report} includes everything up to versions {versions}; chunks counted: {job.result.chunks:,}."
        )


def _print_rebuild(body: bytes) -> None:
    job = decode(body, RebuildJob)
    print_status(job)
    if job.result is not None:
        wrong = f"{job.result.mended:,} were wrong and have been corrected" if job.result.mended else "all were correct"
        click.echo(f"{job.dataset}.{job.rollup} has {job.result.groups:,} groups; {wrong}.")


RESULT_PRINTERS.update(refresh=_print_refresh, rebuild=_print_rebuild)
COMMANDS: list[click.Command] = [reports, report, refresh, rebuild]
