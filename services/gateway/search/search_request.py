"""Parses and executes search requests, with parameters or a body, and waits for `min_version`."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from services.gateway.http import preferences, row_query
from services.gateway.http.min_version import wait_for_version
from services.gateway.http.problems import Detail, Problem
from services.gateway.http.row_query import OPERATORS
from shared.catalog.dataset import Dataset, Search
from shared.db import Pool
from shared.reads.indexer.index import select_freshness
from shared.search.columns import InvalidQuery
from shared.search.query import SearchQuery, SearchResults
from shared.search.search import IndexNotBuilt, find
from shared.search.validate import check_query

GRAMMAR = (
    '`q` works like a web search: words, `"a phrase"`, `-without`, `prefix*`, `this or that`; any text is valid. A'
    " word matches all words with the same stem, whatever their accents. `words` (repeated, combined by `operator`) are"
    " matched exactly, ignoring case. Without both, all rows match."
)
DESCRIPTION = f"{GRAMMAR}\n\n{OPERATORS}"
MAX_LIMIT = 200
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class SearchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query, named like the GET parameters; `filters` are texts such as `gte.10` by field, or lists of them."""

    q: Text = ""
    words: Annotated[tuple[Text, ...], msgspec.Meta(max_length=32)] = ()
    operator: Literal["and", "or"] = "and"
    fields: tuple[str, ...] = ()
    filters: dict[str, str | tuple[str, ...]] = {}
    sort: str | None = None
    facets: tuple[str, ...] = ()
    highlight: tuple[str, ...] = ()
    typos: Literal["auto", "off"] = "auto"
    count: Literal["exact", "estimated"] = "estimated"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 10
    cursor: str | None = None
    min_version: Annotated[int, msgspec.Meta(ge=0)] | None = None

    @property
    def filter_pairs(self) -> list[tuple[str, str]]:
        """The filters as pairs of field and text."""
        pairs = ((name, (value,) if isinstance(value, str) else value) for name, value in self.filters.items())
        return [(name, text) for name, texts in pairs for text in texts]


def to_search_query(dataset: Dataset, body: SearchBody, reserved: Iterable[str] = ()) -> SearchQuery:
    """Parses a query; `reserved` are parameters that are not fields. Raises Problem 422."""
    search = check_searchable(dataset)
    filtered = row_query.parse_row_query(dataset, body.filter_pairs, set(reserved), order=body.sort, select=None)
    if body.q.strip() and body.words:
        detail = Detail(code="unfit_parameter", column="words", detail="q and words can't be combined.")
        raise Problem(422, "unfit_parameter", detail.detail, errors=[detail])
    query = SearchQuery(
        q=body.q,
        words=body.words,
        operator=body.operator,
        fields=body.fields,
        filters=filtered.filters,
        order=filtered.order if body.sort else (),
        facets=body.facets,
        highlight=body.highlight,
        typos=body.typos == "auto",
        exact_total=body.count == "exact",
        limit=body.limit,
        cursor=body.cursor,
    )
    try:
        check_query(dataset, search, query)
    except InvalidQuery as error:
        raise row_query.invalid_query([error]) from error
    return query


def check_searchable(dataset: Dataset) -> Search:
    """Returns the search declaration. Raises Problem 422 if there is none."""
    if dataset.search is None:
        hint = "Add `search = { fields = [...] }` to its declaration."
        raise Problem(422, "not_searchable", f"{dataset.name} declares no search.", hint=hint)
    return dataset.search


async def execute(
    pool: Pool,
    stopping: asyncio.Event,
    dataset: Dataset,
    query: SearchQuery,
    min_version: int | None,
    prefer: str | None,
) -> tuple[SearchResults, dict[str, str]]:
    """Returns the hits, and headers with their freshness. Raises Problem 422 or 503."""
    seconds = preferences.wait_seconds(prefer)

    async def indexed() -> int:
        async with pool.acquire() as db:
            return (await select_freshness(db, dataset.name)).indexed

    behind = f"{dataset.name} is not searchable yet up to version {min_version}."
    reached = await wait_for_version(indexed, min_version, prefer, behind, stopping=stopping)
    try:
        async with pool.acquire() as db:
            found = await find(db, dataset, query)
    except InvalidQuery as error:
        raise row_query.invalid_query([error]) from error
    except IndexNotBuilt as error:
        raise Problem(
            503,
            "not_built",
            f"The index of {dataset.name} is being built for the first time.",
            hint="Retry in a moment.",
            headers={"Retry-After": "2"},
        ) from error
    stale = not reached and found.meta.version < (min_version or 0)
    found = msgspec.structs.replace(found, meta=msgspec.structs.replace(found.meta, stale=stale))
    headers = {"X-Dataset-Version": str(found.meta.version)}
    if seconds is not None and min_version is not None and not stale:
        headers["Preference-Applied"] = f"wait={seconds}"
    return found, headers
