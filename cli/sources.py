"""`millrace sync` and `schedules`: pulls from sources, now or by schedule."""

import datetime as dt

import click
import msgspec

from cli.follow import finish, submit
from cli.gateway import Gateway, decode, route
from cli.options import dataset_option, json_option
from cli.responses import Collection
from cli.tables import print_json, print_table


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A time at which a schedule was due; `fate` is ran, skipped or missed."""

    due_at: dt.datetime
    fate: str
    job_id: str | None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduled sync; `ticks` are the last ones, newest first."""

    dataset: str
    source: str
    cron: str
    timezone: str
    overlap: str
    next_at: dt.datetime
    ticks: list[Tick]


@click.command()
@click.argument("source", required=False)
@dataset_option
@click.option("--no-wait", is_flag=True, help="Exit as soon as the sync is accepted.")
@json_option
def sync(source: str | None, dataset: str, *, no_wait: bool, as_json: bool) -> None:
    """Pulls the rows of a source and follows the job to its end.

    SOURCE may be omitted if the dataset has only one. If a sync of the source is running, this command follows it
    instead of starting another. Exit codes: see `millrace import`.
    """
    with Gateway.find() as gateway:
        job = submit(gateway, route("datasets", dataset, "syncs"), {"source": source} if source else {})
        finish(gateway, job, source or dataset, no_wait=no_wait, as_json=as_json)


@click.command()
@json_option
def schedules(*, as_json: bool) -> None:
    """Lists scheduled syncs with their next and last runs."""
    with Gateway.find() as gateway:
        body = gateway.get(route("schedules")).content
    if as_json:
        print_json(body)
    elif rows := decode(body, Collection[Schedule]).data:
        _print_schedules(rows)
    else:
        click.echo("No source declares a schedule.")


def _print_schedules(schedules: list[Schedule]) -> None:
    columns = ("DATASET", "SOURCE", "CRON", "TIME ZONE", "OVERLAP", "NEXT AT (UTC)", "LAST TICKS")
    print_table(
        columns,
        (
            [
                schedule.dataset,
                schedule.source,
                schedule.cron,
                schedule.timezone,
                schedule.overlap,
                f"{schedule.next_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(f"{tick.due_at:%m-%d %H:%M} {tick.fate}" for tick in schedule.ticks),
            ]
            for schedule in schedules
        ),
    )


COMMANDS: list[click.Command] = [sync, schedules]
