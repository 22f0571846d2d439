"""GET /v1/datasets/{dataset}/partitions and POST …/{year}/detach: the years of a dataset, and taking one out of it."""

import asyncio
import hashlib
import re
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway import partitions, preferences, queries, syncs
from services.gateway.accepting import Accepting, uuid7
from services.gateway.answers import Answer
from services.gateway.catalog import Catalog
from services.gateway.job import Asked
from services.gateway.partitions import DetachJobBody, Partitions
from services.gateway.problems import Problem, not_found, responses
from shared.contracts.commands import PlanDetach
from shared.db import Connection, Pool

YEAR = re.compile("[0-9]{4}")


@get(
    "/v1/datasets/{dataset:str}/partitions",
    tags=["datasets"],
    summary="The years of a partitioned dataset",
    description="A table each, with the rows `from` a day on and before `to`. Rows of small ones are counted, those of"
    " others are estimated by Postgres: `count` says which. `detached` are the tables of years that were detached.",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def list_partitions(pool: Pool, catalog: Catalog, dataset: str) -> Answer[Partitions]:
    """The oldest first."""
    declared = await catalog.dataset(pool, dataset)
    partitions.refuse_unpartitioned(declared)
    async with pool.acquire() as db:
        return Answer(await partitions.select_partitions(db, declared))


@post(
    "/v1/datasets/{dataset:str}/partitions/{year:str}/detach",
    tags=["datasets"],
    summary="Take a year out of a dataset",
    description="As a job: the rows of the year are no longer read, found or summed up, and nothing of them is lost:"
    " their table is `detached.DATASET__YEAR` from then on. A file with rows of the year begins it anew. While the year"
    " is being detached, who asks again is answered with that job, and `Millrace-Attached: true`.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 409, 422),
        200: ResponseSpec(data_container=DetachJobBody, description="The job, ended"),
    },
)
async def detach(
    request: Request[Any, Any, Any],
    dataset: str,
    year: str,
    pool: Pool,
    accepting: Accepting,
    catalog: Catalog,
    stopping: asyncio.Event,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[DetachJobBody]:
    """The job that begins, or the one under way."""
    declared = await catalog.dataset(pool, dataset)
    partitions.refuse_unpartitioned(declared)
    async with pool.acquire() as db, db.transaction():
        known = await partitions.select_partitions(db, declared)
        if not await _is_under_way(db, dataset, year, request.user.id, idempotency_key):
            _refuse(dataset, year, known)
    command = PlanDetach(dataset=dataset, job_id=uuid7(), year=int(year))
    asked = Asked(
        kind="detach",
        command=command,
        mode=None,
        api_key=request.user.id,
        idempotency_key=idempotency_key,
        fingerprint=hashlib.sha256(f"detach/{dataset}/{year}".encode()).hexdigest(),
    )
    answer = await preferences.accepted(pool, stopping, await accepting.accept(asked), prefer)
    async with pool.acquire() as db:
        body = await partitions.with_table(db, answer.content)
    return Answer(body, status_code=answer.status_code, headers=answer.headers)


async def _is_under_way(db: Connection, dataset: str, year: str, api_key: str, idempotency_key: str | None) -> bool:
    """Or was asked for before, with this key: then the year may be gone by now, and the answer is that job."""
    if not YEAR.fullmatch(year):
        return False
    if await partitions.select_running(db, dataset, int(year)) is not None:
        return True
    if idempotency_key is None:
        return False
    attached = await syncs.select_attached(db, api_key, idempotency_key)
    return attached is not None or await queries.select_asked(db, api_key, idempotency_key) is not None


def _refuse(dataset: str, year: str, known: Partitions) -> None:
    """Raises Problem 404 or 409."""
    if year not in {str(one.year) for one in known.data}:
        years = ", ".join(str(one.year) for one in known.data)
        raise not_found(f"year of {dataset}", year, hint=f"There are: {years}." if years else "It has no years yet.")
    for other in known.detached:
        if str(other.year) == year:
            detail = f"{other.table} is there already: the year was detached before."
            hint = (
                f"Drop it, or move it elsewhere: CREATE SCHEMA archive; ALTER TABLE {other.table} SET SCHEMA archive;"
            )
            raise Problem(409, "detached_already", detail, hint=hint)
