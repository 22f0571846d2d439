"""`millrace partitions` and `detach`: the yearly partitions of a dataset."""

import datetime as dt
from typing import Literal

import click
import msgspec
from rich.filesize import decimal

from cli.follow import finish, submit
from cli.gateway import Gateway, decode, route
from cli.options import json_option, no_wait_option
from cli.outcomes import RESULT_PRINTERS, print_status
from cli.responses import Job
from cli.tables import print_json, print_table


class Partition(msgspec.Struct, frozen=True):
    """The table of one year."""

    year: int
    table: str
    from_: dt.date = msgspec.field(name="from")
    to: dt.date
    rows: int
    count: Literal["exact", "estimated"]
    bytes: int


class Partitions(msgspec.Struct, frozen=True):
    """Partitions of a dataset: attached ones (`data`) and detached ones."""

    data: list[Partition]
    detached: list[Partition]


class DetachJob(Job, frozen=True, kw_only=True):
    """A job that detaches a year."""

    year: int
    table: str


@click.command()
@click.argument("dataset")
@json_option
def partitions(dataset: str, *, as_json: bool) -> None:
    """Lists the yearly partitions of a dataset, attached and detached."""
    with Gateway.find() as gateway:
        body = gateway.get(route("datasets", dataset, "partitions")).content
    if as_json:
        print_json(body)
        return
    response = decode(body, Partitions)
    rows = [*response.data, *response.detached]
    columns = ("YEAR", "TABLE", "FROM", "BEFORE", "ROWS", "SIZE")
    print_table(columns, ([str(p.year), p.table, p.from_, p.to, _row_count(p), decimal(p.bytes)] for p in rows))


@click.command()
@click.argument("dataset")
@click.argument("year", type=click.IntRange(1, 9999))
@no_wait_option
@json_option
def detach(dataset: str, year: int, *, no_wait: bool, as_json: bool) -> None:
    """Detaches a year from a dataset. Its rows stay in a table of the schema `detached`.

    Exit codes: 0 if the year is detached, 4 if the job failed and nothing changed, 1 if it was not accepted.
    """
    with Gateway.find() as gateway:
        job = submit(gateway, route("datasets", dataset, "partitions", str(year), "detach"), {})
        finish(gateway, job, f"detach {dataset} {year}", no_wait=no_wait, as_json=as_json)


def _row_count(partition: Partition) -> str:
    return f"{partition.rows:,}" if partition.count == "exact" else f"about {partition.rows:,}"


def _print_detach(body: bytes) -> None:
    job = decode(body, DetachJob)
    print_status(job)
    if job.status == "succeeded":
        click.echo(f"Year {job.year} is detached from {job.dataset}: {job.outcome.deleted:,} rows are in {job.table}.")


RESULT_PRINTERS["detach"] = _print_detach
COMMANDS: list[click.Command] = [partitions, detach]
