"""The commands about the years of partitioned datasets."""

import datetime as dt
from typing import Literal

import click
import msgspec
from rich.filesize import decimal

from cli import show
from cli.answers import Job
from cli.asking import ask, conclude, no_wait_option
from cli.client import json_option
from cli.gateway import Gateway, decode, route


class Year(msgspec.Struct, frozen=True):
    """A table with the rows of a year."""

    year: int
    table: str
    from_: dt.date = msgspec.field(name="from")
    to: dt.date
    rows: int
    count: Literal["exact", "estimated"]
    bytes: int


class Partitions(msgspec.Struct, frozen=True):
    """The years of a dataset, and those that were detached."""

    data: list[Year]
    detached: list[Year]


class DetachJob(Job, frozen=True, kw_only=True):
    """A job that takes a year out of a dataset."""

    year: int
    table: str


@click.command()
@click.argument("dataset")
@json_option
def partitions(dataset: str, *, as_json: bool) -> None:
    """Show the years of a partitioned dataset, and the tables of those that were detached."""
    with Gateway.find() as gateway:
        body = gateway.get(route("datasets", dataset, "partitions")).content
    if as_json:
        show.answer(body)
        return
    found = decode(body, Partitions)
    years = [*found.data, *found.detached]
    columns = ("YEAR", "TABLE", "FROM", "BEFORE", "ROWS", "SIZE")
    show.table(columns, ([str(y.year), y.table, y.from_, y.to, _rows(y), decimal(y.bytes)] for y in years))


@click.command()
@click.argument("dataset")
@click.argument("year", type=click.IntRange(1, 9999))
@no_wait_option
@json_option
def detach(dataset: str, year: int, *, no_wait: bool, as_json: bool) -> None:
    """Take a year out of a dataset; its rows stay in a table of the schema `detached`.

    Exit code 0: it is out; 4: the job failed and nothing has changed; 1: it could not be asked for.
    """
    with Gateway.find() as gateway:
        answer = ask(gateway, route("datasets", dataset, "partitions", str(year), "detach"), {})
        if answer.headers.get("Millrace-Attached"):
            click.echo("The year is being detached already; this is that job.", err=True)
        job = decode(answer.content, DetachJob)

        def tell(_gateway: Gateway, ended: Job) -> None:
            show.outcome(ended)
            if ended.status == "succeeded":
                click.echo(
                    f"{dataset} has no year {year} any more: its {ended.outcome.deleted:,} rows are in {job.table}."
                )

        conclude(gateway, job, f"detach {dataset} {year}", no_wait=no_wait, as_json=as_json, tell=tell)


def _rows(year: Year) -> str:
    return f"{year.rows:,}" if year.count == "exact" else f"about {year.rows:,}"


COMMANDS: list[click.Command] = [partitions, detach]
