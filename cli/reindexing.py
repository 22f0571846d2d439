"""The command that makes the documents of a dataset anew."""

import time

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from cli import show
from cli.client import json_option
from cli.gateway import Gateway, decode, route

LOOK_EVERY_SECONDS = 0.3


class Building(msgspec.Struct, frozen=True):
    """What is being built, in percent."""

    percent: float


class Index(msgspec.Struct, frozen=True):
    """What answers; `generation` is null before the first documents are made."""

    generation: int | None
    documents: int
    words: int
    building: Building | None


@click.command()
@click.argument("dataset")
@json_option
def reindex(dataset: str, *, as_json: bool) -> None:
    """Make all documents of a dataset anew, while the old ones answer."""
    path = route("datasets", dataset, "index")
    with Gateway.find() as gateway, Progress(console=Console(stderr=True), disable=as_json) as bars:
        before = decode(gateway.get(path).content, Index)
        gateway.send("POST", route("datasets", dataset, "reindexes"), b"", "application/json")
        task = bars.add_task(f"reindex {dataset}", total=100)
        while True:
            body = gateway.get(path).content
            now = decode(body, Index)
            if now.building is None and now.generation != before.generation:
                bars.update(task, completed=100)
                break
            bars.update(task, completed=now.building.percent if now.building else 0)
            time.sleep(LOOK_EVERY_SECONDS)
    if as_json:
        show.answer(body)
        return
    click.echo(f"{dataset} is searched through generation {now.generation}: {now.words:,} different words.")


COMMANDS: list[click.Command] = [reindex]
