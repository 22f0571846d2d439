"""GET /v1/datasets/{dataset}/rows and /rows/{key}: reading what was loaded."""

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import Parameter

from services.gateway import problems, rows
from services.gateway.answers import Answer
from services.gateway.catalog import Catalog
from services.gateway.problems import responses
from shared.db import Pool

DEEPEST = 10_000_000


class Rows(msgspec.Struct, frozen=True):
    """A page of rows in the order of the key, and the count of all."""

    data: list[dict[str, Any]]
    total: int
    page: int
    limit: int


@get(
    "/v1/datasets/{dataset:str}/rows",
    tags=["rows"],
    summary="Rows of a dataset, page by page",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def list_rows(
    pool: Pool,
    catalog: Catalog,
    dataset: str,
    page: Annotated[int, Parameter(ge=1, le=DEEPEST)] = 1,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 10,
) -> Answer[Rows]:
    """Behind the last page there is an empty one."""
    declared = await catalog.dataset(pool, dataset)
    async with pool.acquire() as db:
        data, total = await rows.select_rows(db, declared, page=page, limit=limit)
    return Answer(Rows(data, total, page, limit))


@get(
    "/v1/datasets/{dataset:str}/rows/{key:str}",
    tags=["rows"],
    summary="One row by its key",
    description="The parts of a compound key are separated by commas, in the order of `primary_key`.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_row(pool: Pool, catalog: Catalog, dataset: str, key: str) -> Answer[dict[str, Any]]:
    """404 also for text that can't be a key, with the reason."""
    declared = await catalog.dataset(pool, dataset)
    try:
        async with pool.acquire() as db:
            row = await rows.select_row(db, declared, key)
    except rows.BadKey as error:
        raise problems.not_found(f"row of {dataset}", key, hint=f"{error}.") from error
    if row is None:
        raise problems.not_found(f"row of {dataset}", key)
    return Answer(row)
