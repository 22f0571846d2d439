"""`millrace reindex`: rebuilds the search index of a dataset."""

import sys
import time

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from cli.follow import EXIT_CODES
from cli.gateway import Gateway, decode, route
from cli.options import json_option
from cli.outcomes import RESULT_PRINTERS, print_status
from cli.responses import Job
from cli.tables import print_json

POLL_SECONDS = 0.3


class Building(msgspec.Struct, frozen=True):
    """Progress of the next generation."""

    percent: float


class Index(msgspec.Struct, frozen=True):
    """Status of a search index; `generation` is None before the first one is built."""

    generation: int | None
    documents: int
    words: int
    building: Building | None


@click.command()
@click.argument("dataset")
@json_option
def reindex(dataset: str, *, as_json: bool) -> None:
    """Rebuilds the search index of a dataset. Searches use the old index until the new one is ready."""
    path = route("datasets", dataset, "index")
    with Gateway.find() as gateway, Progress(console=Console(stderr=True), disable=as_json) as bars:
        started = gateway.send("POST", route("datasets", dataset, "reindexes"), b"", "application/json")
        task = bars.add_task(f"reindex {dataset}", total=100)
        while not (job := gateway.read(Job, route("jobs", started.headers["Millrace-Job"]))).ended:
            index = gateway.read(Index, path)
            bars.update(task, completed=index.building.percent if index.building else 0)
            time.sleep(POLL_SECONDS)
        body = gateway.get(path).content
        index = decode(body, Index)
    if as_json:
        print_json(body)
    elif job.status != "succeeded":
        print_status(job)
    else:
        click.echo(f"{dataset}: index generation {index.generation} is in use, with {index.words:,} distinct words.")
    sys.exit(EXIT_CODES[job.status])


def _print_job(body: bytes) -> None:
    print_status(decode(body, Job))


RESULT_PRINTERS["reindex"] = _print_job
COMMANDS: list[click.Command] = [reindex]
