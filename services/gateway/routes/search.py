"""GET /v1/datasets/{dataset}/search: rows by their words, the best first."""

import time
from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.params import Parameter

from services.gateway import rows
from services.gateway.answers import Answer
from services.gateway.catalog import Catalog
from services.gateway.problems import Problem, responses
from shared.db import Pool


class Total(msgspec.Struct, frozen=True):
    """How many rows match: exactly (`eq`), or at least (`gte`)."""

    value: int
    relation: Literal["eq", "gte"]


class Meta(msgspec.Struct, frozen=True):
    """`ranked`: how many matches were compared to find the best; seconds from question to answer."""

    ranked: int
    seconds: float


class Found(msgspec.Struct, frozen=True):
    """The best hits first; equal ones in the order of the key."""

    data: list[rows.Hit]
    total: Total
    meta: Meta


@get(
    "/v1/datasets/{dataset:str}/search",
    tags=["search"],
    summary="Search a dataset",
    description='`q` is read like a web search: words, `"a phrase"`, `-without`, `this or that`. Any text is legal.',
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def search(
    pool: Pool,
    catalog: Catalog,
    dataset: str,
    q: Annotated[str, Parameter(min_length=1, max_length=1000)],
    limit: Annotated[int, Parameter(ge=1, le=200)] = 10,
) -> Answer[Found]:
    """Stemmed in the dataset's language."""
    declared = await catalog.dataset(pool, dataset)
    if declared.search is None:
        raise Problem(
            422, "not_searchable", f"{dataset} declares no search.", hint="Add `search = { fields = [...] }`."
        )
    began = time.monotonic()
    async with pool.acquire() as db:
        hits, total = await rows.search(db, declared, declared.search.language, q, limit=limit)
    relation: Literal["eq", "gte"] = "gte" if total >= rows.CANDIDATES else "eq"
    return Answer(Found(hits, Total(total, relation), Meta(total, round(time.monotonic() - began, 4))))
