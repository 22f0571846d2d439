"""The commands about sources: pulling one now, and what is pulled by itself."""

import click

from cli import show
from cli.answers import Job, Schedules
from cli.asking import ask, conclude
from cli.client import dataset_option, json_option
from cli.gateway import Gateway, decode, route


@click.command()
@click.argument("source", required=False)
@dataset_option
@click.option("--no-wait", is_flag=True, help="Return as soon as the sync is accepted.")
@json_option
def sync(source: str | None, dataset: str, *, no_wait: bool, as_json: bool) -> None:
    """Pull the rows of an outside source, and follow the sync to its end.

    SOURCE can be left out if the dataset has only one. A sync that runs already is followed, and no other begins.
    Exit codes as of `millrace import`.
    """
    with Gateway.find() as gateway:
        answer = ask(gateway, route("datasets", dataset, "syncs"), {"source": source} if source else {})
        if answer.headers.get("Millrace-Attached"):
            click.echo("A sync of this source is under way; no other was begun.", err=True)
        job = decode(answer.content, Job)
        conclude(gateway, job, source or dataset, no_wait=no_wait, as_json=as_json)


@click.command()
@json_option
def schedules(*, as_json: bool) -> None:
    """Show what is pulled by itself, when next, and what became of it the last times."""
    with Gateway.find() as gateway:
        body = gateway.get(route("schedules")).content
    if as_json:
        show.answer(body)
    elif found := decode(body, Schedules).data:
        show.schedules(found)
    else:
        click.echo("Nothing is scheduled: no source declares a schedule.")


COMMANDS: list[click.Command] = [sync, schedules]
