"""The commands about rows that failed: looking at them, having them read again, giving them up."""

import click

from cli import show
from cli.answers import Discarded, FailedRow, FailedRows, Job
from cli.asking import ask, conclude
from cli.client import json_option
from cli.gateway import Gateway, Parameters, decode, route

PAGE = 1000
code_option = click.option("--code", help="Only rows with an error of this code, like required.")
column_option = click.option("--column", help="Only rows with an error in this column.")


@click.command()
@click.argument("job")
@code_option
@column_option
@click.option("--state", type=click.Choice(["open", "replayed", "discarded"]), help="Only rows that are in this state.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many to show.")
@click.option("--csv", "as_csv", is_flag=True, help="All as a CSV file, to be mended and imported again.")
@json_option
def failed(
    job: str, code: str | None, column: str | None, state: str | None, limit: int, *, as_csv: bool, as_json: bool
) -> None:
    """Show the rows that a job refused: how many of them why, then each with its line."""
    here = route("jobs", job, "failed-rows")
    chosen: Parameters = {"code": code, "column": column, "state": state}
    with Gateway.find() as gateway:
        if as_csv:
            for piece in gateway.download(here, {**chosen, "format": "csv"}):
                click.echo(piece, nl=False)
            return
        body = gateway.get(here, {**chosen, "limit": min(limit, PAGE)}).content
        if as_json:
            show.answer(body)
            return
        first = decode(body, FailedRows)
        if not first.total:
            click.echo("No row failed.")
            return
        show.failures(first)
        _show_rows(gateway, here, chosen, first, limit)


@click.command()
@click.argument("job")
@code_option
@column_option
@click.option("--no-wait", is_flag=True, help="Return as soon as the new job is accepted.")
@json_option
def replay(job: str, code: str | None, column: str | None, *, no_wait: bool, as_json: bool) -> None:
    """Have the open failed rows of a job read again, as a new job.

    When what they refer to is there now, or the declaration has changed. Exit codes as of `millrace import`.
    """
    with Gateway.find() as gateway:
        answer = ask(gateway, route("jobs", job, "replay"), {"code": code, "column": column})
        conclude(gateway, decode(answer.content, Job), job, no_wait=no_wait, as_json=as_json)


@click.command()
@click.argument("job")
@code_option
@column_option
def discard(job: str, code: str | None, column: str | None) -> None:
    """Mark the open failed rows of a job as discarded.

    They are kept: `millrace failed JOB --state discarded` shows them.
    """
    with Gateway.find() as gateway:
        path = route("jobs", job, "failed-rows", "discard")
        done = decode(ask(gateway, path, {"code": code, "column": column}).content, Discarded).discarded
    if done is None:
        click.echo(f"They will be discarded, but not yet: `millrace failed {job} --state discarded` tells.")
    else:
        click.echo(f"{done:,} rows are discarded.")


def _show_rows(gateway: Gateway, here: str, chosen: Parameters, page: FailedRows, limit: int) -> None:
    rows: list[FailedRow] = list(page.data)
    while page.next is not None and len(rows) < limit:
        page = gateway.read(FailedRows, here, {**chosen, "after": page.next, "limit": min(limit - len(rows), PAGE)})
        rows += page.data
    click.echo()
    if rows:
        show.failed_rows(rows)
    else:
        click.echo("None of the rows that are kept fits.")
    if page.next is not None:
        click.echo("There are more: say --limit N, or --csv for all.")


COMMANDS: list[click.Command] = [failed, replay, discard]
