"""`millrace reindex`: rebuilds the search index of a dataset."""

import time

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from cli.gateway import Gateway, decode, route
from cli.options import json_option
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
        before = decode(gateway.get(path).content, Index)
        gateway.send("POST", route("datasets", dataset, "reindexes"), b"", "application/json")
        task = bars.add_task(f"reindex {dataset}", total=100)
        while True:
            body = gateway.get(path).content
            index = decode(body, Index)
            if index.building is None and index.generation != before.generation:
                bars.update(task, completed=100)
                break
            bars.update(task, completed=index.building.percent if index.building else 0)
            time.sleep(POLL_SECONDS)
    if as_json:
        print_json(body)
        return
    click.echo(f"{dataset}: index generation {index.generation} is in use, with {index.words:,} distinct words.")


COMMANDS: list[click.Command] = [reindex]
