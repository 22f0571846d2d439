"""What is asked of a search, read from parameters or a body, and how fresh its answer has to be."""

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
from shared.search.columns import InvalidQuery
from shared.search.index import select_freshness
from shared.search.query import SearchQuery, SearchResults
from shared.search.search import IndexNotBuilt, find
from shared.search.validate import check_query

GRAMMAR = (
    '`q` is read like a web search: words, `"a phrase"`, `-without`, `begin*`, `this or that`; any text is legal. Each'
    " word stands for all that share its stem, whatever their accents. `words` (repeated, joined by `operator`) are"
    " taken as they stand, but for their case. With neither, all rows are meant."
)
DESCRIPTION = f"{GRAMMAR}\n\n{OPERATORS}"
MOST_LIMIT = 200
Text = Annotated[str, msgspec.Meta(max_length=1000)]


class SearchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question, as parameters have it; `filters` are texts like `gte.10` by field, or lists of them."""

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
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_LIMIT)] = 10
    cursor: str | None = None
    min_version: Annotated[int, msgspec.Meta(ge=0)] | None = None

    @property
    def given(self) -> list[tuple[str, str]]:
        """The filters, one by one."""
        pairs = ((name, (value,) if isinstance(value, str) else value) for name, value in self.filters.items())
        return [(name, text) for name, texts in pairs for text in texts]


def to_question(dataset: Dataset, body: SearchBody, known: Iterable[str] = ()) -> SearchQuery:
    """`known` are parameters that are no fields. Raises Problem 422, and for a dataset without search."""
    search = refuse_unsearched(dataset)
    asked = row_query.parse_row_query(dataset, body.given, set(known), order=body.sort, select=None)
    if body.q.strip() and body.words:
        detail = Detail(code="unfit_parameter", column="words", detail="q and words: ask for the one or the other.")
        raise Problem(422, "unfit_parameter", detail.detail, errors=[detail])
    question = SearchQuery(
        q=body.q,
        words=body.words,
        operator=body.operator,
        fields=body.fields,
        filters=asked.filters,
        order=asked.order if body.sort else (),
        facets=body.facets,
        highlight=body.highlight,
        typos=body.typos == "auto",
        exact_total=body.count == "exact",
        limit=body.limit,
        cursor=body.cursor,
    )
    try:
        check_query(dataset, search, question)
    except InvalidQuery as error:
        raise row_query.invalid_query([error]) from error
    return question


def refuse_unsearched(dataset: Dataset) -> Search:
    """How it is searched. Raises Problem 422."""
    if dataset.search is None:
        hint = "Add `search = { fields = [...] }` to its declaration."
        raise Problem(422, "not_searchable", f"{dataset.name} declares no search.", hint=hint)
    return dataset.search


async def answer(
    pool: Pool,
    stopping: asyncio.Event,
    dataset: Dataset,
    question: SearchQuery,
    min_version: int | None,
    prefer: str | None,
) -> tuple[SearchResults, dict[str, str]]:
    """The answer and the headers that tell how fresh it is. Raises Problem."""
    seconds = preferences.wait_seconds(prefer)

    async def indexed() -> int:
        async with pool.acquire() as db:
            return (await select_freshness(db, dataset.name)).indexed

    behind = f"{dataset.name} is not searchable yet up to version {min_version}."
    reached = await wait_for_version(indexed, min_version, prefer, behind, stopping=stopping)
    try:
        async with pool.acquire() as db:
            found = await find(db, dataset, question)
    except InvalidQuery as error:
        raise row_query.invalid_query([error]) from error
    except IndexNotBuilt as error:
        raise Problem(
            503,
            "not_built",
            f"The documents of {dataset.name} are being made for the first time.",
            hint="Ask again in a moment.",
            headers={"Retry-After": "2"},
        ) from error
    stale = not reached and found.meta.version < (min_version or 0)
    found = msgspec.structs.replace(found, meta=msgspec.structs.replace(found.meta, stale=stale))
    headers = {"X-Dataset-Version": str(found.meta.version)}
    if seconds is not None and min_version is not None and not stale:
        headers["Preference-Applied"] = f"wait={seconds}"
    return found, headers
