"""GET and POST /v1/datasets/{dataset}/search, and …/search/suggest: rows by their words, the best first."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.http import auth
from services.gateway.http.openapi import FieldQuery
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.search import search_request
from services.gateway.search.search_request import MOST_LIMIT, SearchBody
from shared.db import Pool
from shared.search import suggestions
from shared.search.query import SearchResults

LARGEST_BYTES = 1 << 18
LIST = "Separated by commas"


class Suggestions(msgspec.Struct, frozen=True):
    """Questions that go on as this one begins, the most frequent words first."""

    data: list[suggestions.Suggestion]


@get(
    "/v1/datasets/{dataset:str}/search",
    tags=["search"],
    summary="Search a dataset",
    description=search_request.DESCRIPTION,
    opt={"scope": "read", "any_query": True},
    operation_class=FieldQuery,
    responses=responses(404, 422, 503),
)
async def search(
    request: Request[Any, Any, Any],
    pool: Pool,
    catalog: Catalog,
    stopping: asyncio.Event,
    dataset: str,
    q: Annotated[str, Parameter(max_length=1000)] = "",
    words: Annotated[list[str] | None, Parameter(description="Exact words; repeat it for several")] = None,
    operator: Literal["and", "or"] = "and",
    fields: Annotated[str | None, Parameter(description=f"Search only these. {LIST}")] = None,
    sort: Annotated[str | None, Parameter(description="Like `order` of rows; without it, the best come first")] = None,
    facets: Annotated[str | None, Parameter(description=f"Count the values of these. {LIST}")] = None,
    highlight: Annotated[str | None, Parameter(description=f"Show where the words stand in these. {LIST}")] = None,
    typos: Annotated[Literal["auto", "off"], Parameter(description="Whether misspelt words are corrected")] = "auto",
    count: Annotated[Literal["exact", "estimated"], Parameter(description="Of `total`")] = "estimated",
    limit: Annotated[int, Parameter(ge=1, le=MOST_LIMIT)] = 10,
    cursor: Annotated[str | None, Parameter(description="The `next` of the page before")] = None,
    min_version: Annotated[int | None, Parameter(ge=0, description="Of the dataset, as the job has it")] = None,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N: for min_version")] = None,
) -> Answer[SearchResults]:
    """Stemmed in the dataset's language."""
    declared = await catalog.dataset(pool, dataset)
    known = auth.query_parameters(request)
    given: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in known:
            given[name] = (*given.get(name, ()), text)
    body = SearchBody(
        q=q,
        words=tuple(words or ()),
        operator=operator,
        fields=_names(fields),
        filters=given,
        sort=sort,
        facets=_names(facets),
        highlight=_names(highlight),
        typos=typos,
        count=count,
        limit=limit,
        cursor=cursor,
    )
    question = search_request.to_question(declared, body, known)
    found, headers = await search_request.answer(pool, stopping, declared, question, min_version, prefer)
    return Answer(found, headers=headers)


@post(
    "/v1/datasets/{dataset:str}/search",
    tags=["search"],
    summary="Search a dataset: the question as a body",
    description="For long questions; nothing is kept of it.",
    opt={"scope": "read"},
    status_code=200,
    request_max_body_size=LARGEST_BYTES,
    responses=responses(400, 404, 413, 422, 503),
)
async def search_by_body(
    pool: Pool,
    catalog: Catalog,
    stopping: asyncio.Event,
    dataset: str,
    data: SearchBody,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N: for min_version")] = None,
) -> Answer[SearchResults]:
    """As by GET."""
    declared = await catalog.dataset(pool, dataset)
    question = search_request.to_question(declared, data)
    found, headers = await search_request.answer(pool, stopping, declared, question, data.min_version, prefer)
    return Answer(found, headers=headers)


@get(
    "/v1/datasets/{dataset:str}/search/suggest",
    tags=["search"],
    summary="How a question may go on",
    description="The last word of `q` is taken for the beginning of one: those of the dataset's words that begin so.",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def suggest(
    pool: Pool,
    catalog: Catalog,
    dataset: str,
    q: Annotated[str, Parameter(min_length=1, max_length=1000)],
    limit: Annotated[int, Parameter(ge=1, le=100)] = 10,
) -> Answer[Suggestions]:
    """None for a text that ends with no word."""
    declared = await catalog.dataset(pool, dataset)
    search_request.refuse_unsearched(declared)
    async with pool.acquire() as db:
        return Answer(Suggestions(await suggestions.suggest(db, dataset, q, limit)))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text is not None else ()
