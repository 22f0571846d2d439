"""GET and POST /v1/datasets/{dataset}/search, and …/search/suggest: full-text search and suggestions."""

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
from services.gateway.search.search_request import MAX_LIMIT, SearchBody
from shared.db import Pool
from shared.search import suggestions
from shared.search.query import SearchResults

MAX_BODY_BYTES = 1 << 18
LIST_FORMAT = "Separated by commas"


class Suggestions(msgspec.Struct, frozen=True):
    """Completions of a query, most frequent words first."""

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
    words: Annotated[list[str] | None, Parameter(description="Exact words; repeat the parameter for several")] = None,
    operator: Literal["and", "or"] = "and",
    fields: Annotated[str | None, Parameter(description=f"Search only these. {LIST_FORMAT}")] = None,
    sort: Annotated[
        str | None, Parameter(description="Like `order` of rows; by default, the best hits come first")
    ] = None,
    facets: Annotated[str | None, Parameter(description=f"Count the values of these. {LIST_FORMAT}")] = None,
    highlight: Annotated[str | None, Parameter(description=f"Mark the words in these. {LIST_FORMAT}")] = None,
    typos: Annotated[Literal["auto", "off"], Parameter(description="Whether to correct misspelt words")] = "auto",
    count: Annotated[Literal["exact", "estimated"], Parameter(description="How to count `total`")] = "estimated",
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = 10,
    cursor: Annotated[str | None, Parameter(description="The `next` of the previous page")] = None,
    min_version: Annotated[
        int | None, Parameter(ge=0, description="The `version` of a job that loaded the dataset")
    ] = None,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds, for min_version")] = None,
) -> Answer[SearchResults]:
    """Searches with the stemmer of the dataset's language."""
    declaration = await catalog.dataset(pool, dataset)
    reserved = auth.query_parameters(request)
    filters: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in reserved:
            filters[name] = (*filters.get(name, ()), text)
    body = SearchBody(
        q=q,
        words=tuple(words or ()),
        operator=operator,
        fields=_names(fields),
        filters=filters,
        sort=sort,
        facets=_names(facets),
        highlight=_names(highlight),
        typos=typos,
        count=count,
        limit=limit,
        cursor=cursor,
    )
    query = search_request.to_search_query(declaration, body, reserved)
    found, headers = await search_request.execute(pool, stopping, declaration, query, min_version, prefer)
    return Answer(found, headers=headers)


@post(
    "/v1/datasets/{dataset:str}/search",
    tags=["search"],
    summary="Search a dataset with a query in the body",
    description="For long queries; nothing is stored.",
    opt={"scope": "read"},
    status_code=200,
    request_max_body_size=MAX_BODY_BYTES,
    responses=responses(400, 404, 413, 422, 503),
)
async def search_by_body(
    pool: Pool,
    catalog: Catalog,
    stopping: asyncio.Event,
    dataset: str,
    data: SearchBody,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds, for min_version")] = None,
) -> Answer[SearchResults]:
    """Searches as GET does."""
    declaration = await catalog.dataset(pool, dataset)
    query = search_request.to_search_query(declaration, data)
    found, headers = await search_request.execute(pool, stopping, declaration, query, data.min_version, prefer)
    return Answer(found, headers=headers)


@get(
    "/v1/datasets/{dataset:str}/search/suggest",
    tags=["search"],
    summary="Suggest completions of a query",
    description="Completes the last word of `q` with words of the dataset that have it as a prefix.",
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
    """Returns no suggestions if `q` does not end with a word."""
    declaration = await catalog.dataset(pool, dataset)
    search_request.check_searchable(declaration)
    async with pool.acquire() as db:
        return Answer(Suggestions(await suggestions.suggest(db, dataset, q, limit)))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text is not None else ()
