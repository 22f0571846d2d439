"""The command that searches, at once or as a job."""

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from cli import hits, importing, progress, show
from cli.answers import Dataset, Job
from cli.asking import ask
from cli.client import json_option
from cli.following import follow
from cli.gateway import Gateway, decode, route
from cli.hits import Found, SearchJob


@click.command()
@click.argument("dataset")
@click.argument("query", default="")
@click.option("--exact", "words", multiple=True, metavar="WORD", help="This word as it stands; again for more of them.")
@click.option("--or", "operator", flag_value="or", help="Any of the exact words, and not all of them.")
@click.option(
    "--filter", "filters", multiple=True, metavar="FIELD=CONDITION", help="Like price=gte.10; again for more."
)
@click.option("--sort", help="Like price.desc,name. Without it, the best come first.")
@click.option("--facets", default="", help="Fields whose values are counted, separated by commas.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 200), help="How many hits.")
@click.option("--job", "as_job", is_flag=True, help="Have the answer kept for a day: see `millrace jobs JOB`.")
@json_option
def search(dataset: str, limit: int, *, as_job: bool, as_json: bool, **asked: Any) -> None:
    """Find rows of DATASET by their words: `word`, `"a phrase"`, `-without`, `begin*`, `this or that`.

    Without a query and exact words, all rows are meant. Exit code 4: the job failed.
    """
    body = _question(**asked)
    with Gateway.find() as gateway:
        body["highlight"] = _searched(gateway, dataset)
        if as_job:
            _keep(gateway, {**body, "dataset": dataset}, limit, as_json=as_json)
        content = msgspec.json.encode({**body, "limit": limit})
        answer = gateway.send("POST", route("datasets", dataset, "search"), content, "application/json").content
    if as_json:
        show.answer(answer)
    else:
        hits.found(decode(answer, Found))


def _question(
    query: str, words: Sequence[str], operator: str | None, filters: Sequence[str], sort: str | None, facets: str
) -> dict[str, Any]:
    if operator and not words:
        raise click.UsageError("--or is about words of --exact. In a query, write `this or that`.")
    given: dict[str, list[str]] = {}
    for text in filters:
        name, equals, condition = text.partition("=")
        if not equals:
            message = f"{text!r} is not of the form FIELD=CONDITION, as in price=gte.10."
            raise click.UsageError(message)
        given.setdefault(name, []).append(condition)
    return {
        "q": query,
        "words": list(words),
        "operator": operator or "and",
        "filters": given,
        "facets": [name.strip() for name in facets.split(",") if name.strip()],
        **({"sort": sort} if sort else {}),
    }


def _searched(gateway: Gateway, dataset: str) -> list[str]:
    declared = gateway.read(Dataset, route("datasets", dataset)).declaration.search
    return declared.fields if declared else []


def _keep(gateway: Gateway, body: dict[str, Any], limit: int, *, as_json: bool) -> None:
    job = decode(ask(gateway, route("searches"), body).content, Job)
    with progress.display(job.dataset) as display:
        job = follow(gateway, job, display)
    answer = gateway.get(route("jobs", job.id), {"limit": limit}).content
    if as_json:
        show.answer(answer)
    else:
        hits.kept(decode(answer, SearchJob))
    sys.exit(importing.EXIT_CODES.get(job.status, 4))


COMMANDS: list[click.Command] = [search]
