"""`millrace failed`, `replay` and `discard`: failed rows of a job."""

import click
import msgspec

from cli.follow import finish, post, submit
from cli.gateway import Gateway, Parameters, decode, route
from cli.options import json_option, no_wait_option
from cli.responses import FailedRow, FailedRows
from cli.tables import Count, print_json, print_table

PAGE = 1000
code_option = click.option("--code", help="Only rows with this error code, for example required.")
column_option = click.option("--column", help="Only rows with an error in this column.")


class DiscardResult(msgspec.Struct, frozen=True):
    """Number of discarded rows; None if the command is still being processed."""

    discarded: int | None


@click.command()
@click.argument("job")
@code_option
@column_option
@click.option("--state", type=click.Choice(["open", "replayed", "discarded"]), help="Only rows in this state.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="Maximum number of rows.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all rows as CSV, to correct and import again.")
@json_option
def failed(
    job: str, code: str | None, column: str | None, state: str | None, limit: int, *, as_csv: bool, as_json: bool
) -> None:
    """Shows the failed rows of a job: first the number of rows by error, then each row."""
    path = route("jobs", job, "failed-rows")
    filters: Parameters = {"code": code, "column": column, "state": state}
    with Gateway.find() as gateway:
        if as_csv:
            for chunk in gateway.download(path, {**filters, "format": "csv"}):
                click.echo(chunk, nl=False)
            return
        body = gateway.get(path, {**filters, "limit": min(limit, PAGE)}).content
        if as_json:
            print_json(body)
            return
        page = decode(body, FailedRows)
        if not page.total:
            click.echo("No row failed.")
            return
        print_table(("ROWS", "CODE", "COLUMN"), ([Count(c.rows), c.code, c.column] for c in page.counts))
        kept = "all" if page.kept == page.total else f"{page.kept:,}"
        click.echo(f"Failed rows: {page.total:,}, {kept} of them stored.")
        _print_rows(gateway, path, filters, page, limit)


@click.command()
@click.argument("job")
@code_option
@column_option
@no_wait_option
@json_option
def replay(job: str, code: str | None, column: str | None, *, no_wait: bool, as_json: bool) -> None:
    """Reads the open failed rows of a job again, in a new job.

    Useful after a missing referenced row was added or the declaration changed. Exit codes: see `millrace import`.
    """
    with Gateway.find() as gateway:
        replayed = submit(gateway, route("jobs", job, "replay"), {"code": code, "column": column})
        finish(gateway, replayed, job, no_wait=no_wait, as_json=as_json)


@click.command()
@click.argument("job")
@code_option
@column_option
def discard(job: str, code: str | None, column: str | None) -> None:
    """Marks the open failed rows of a job as discarded.

    The rows stay stored; `millrace failed JOB --state discarded` shows them.
    """
    with Gateway.find() as gateway:
        path = route("jobs", job, "failed-rows", "discard")
        response = post(gateway, path, {"code": code, "column": column})
    discarded = decode(response.content, DiscardResult).discarded
    if discarded is None:
        click.echo(f"Accepted, not done yet. Run `millrace failed {job} --state discarded` to see the result.")
    else:
        click.echo(f"Discarded rows: {discarded:,}.")


def _print_rows(gateway: Gateway, path: str, filters: Parameters, page: FailedRows, limit: int) -> None:
    rows: list[FailedRow] = list(page.data)
    while page.next is not None and len(rows) < limit:
        page = gateway.read(FailedRows, path, {**filters, "after": page.next, "limit": min(limit - len(rows), PAGE)})
        rows += page.data
    click.echo()
    if rows:
        columns = ("LINE", "COLUMN", "CODE", "REASON", "RAW")
        print_table(columns, ([row.line, e.column, e.code, e.detail, row.raw] for row in rows for e in row.errors))
    else:
        click.echo("No stored row matches.")
    if page.next is not None:
        click.echo("There are more rows: use --limit N, or --csv for all.")


COMMANDS: list[click.Command] = [failed, replay, discard]
