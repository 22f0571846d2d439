"""`millrace search`: searches a dataset, immediately or as a job."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from cli.follow import finish, submit
from cli.gateway import Gateway, decode, route
from cli.options import json_option
from cli.responses import Dataset
from cli.search_results import SearchResponse, print_hits
from cli.tables import print_json


@click.command()
@click.argument("dataset")
@click.argument("query", default="")
@click.option("--exact", "words", multiple=True, metavar="WORD", help="Exact word, not stemmed; may be repeated.")
@click.option("--or", "operator", flag_value="or", help="Match any of the exact words instead of all.")
@click.option(
    "--filter", "filters", multiple=True, metavar="FIELD=CONDITION", help="For example price=gte.10; may be repeated."
)
@click.option("--sort", help="For example price.desc,name. Default: best match first.")
@click.option("--facets", default="", help="Fields to count values of, separated by commas.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 200), help="Maximum number of hits.")
@click.option("--job", "as_job", is_flag=True, help="Store the hits for a day; `millrace jobs JOB` shows them.")
@json_option
def search(dataset: str, limit: int, *, as_job: bool, as_json: bool, **options: Any) -> None:
    """Searches DATASET for `word`, `"a phrase"`, `-excluded`, `prefix*`, `one or another`.

    Without a query and exact words, all rows match. Exit code 4: the job failed.
    """
    body = _request_body(**options)
    with Gateway.find() as gateway:
        body["highlight"] = _searchable_fields(gateway, dataset)
        if as_job:
            job = submit(gateway, route("searches"), {**body, "dataset": dataset})
            finish(gateway, job, job.dataset, no_wait=False, as_json=as_json, limit=limit)
        content = msgspec.json.encode({**body, "limit": limit})
        response = gateway.send("POST", route("datasets", dataset, "search"), content, "application/json").content
    if as_json:
        print_json(response)
    else:
        print_hits(decode(response, SearchResponse))


def _request_body(
    query: str, words: Sequence[str], operator: str | None, filters: Sequence[str], sort: str | None, facets: str
) -> dict[str, Any]:
    if operator and not words:
        raise click.UsageError("--or needs words of --exact. In a query, write `one or another`.")
    conditions: dict[str, list[str]] = {}
    for text in filters:
        name, equals, condition = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r} must have the form FIELD=CONDITION, for example price=gte.10.")
        conditions.setdefault(name, []).append(condition)
    return {
        "q": query,
        "words": list(words),
        "operator": operator or "and",
        "filters": conditions,
        "facets": [name.strip() for name in facets.split(",") if name.strip()],
        **({"sort": sort} if sort else {}),
    }


def _searchable_fields(gateway: Gateway, dataset: str) -> list[str]:
    declaration = gateway.read(Dataset, route("datasets", dataset)).declaration.search
    return declaration.fields if declaration else []


COMMANDS: list[click.Command] = [search]
