"""GET /v1/datasets/{dataset}/rollups and POST …/rollups/{rollup}/rebuilds: what reports read, and mending it."""

import asyncio
import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway import attaching, preferences, queries, rollups
from services.gateway.accepting import Accepting, uuid7
from services.gateway.answers import Answer
from services.gateway.catalog import Catalog
from services.gateway.job import JobBody, RebuildJobBody, to_body
from services.gateway.problems import not_found, responses
from shared.contracts.commands import RebuildRollup
from shared.db import Pool


class RollupBody(msgspec.Struct, frozen=True, kw_only=True):
    """A declared rollup. `groups` are counted; `columns` and `built_at` are empty until its table is there.

    `version` is the one of the dataset up to which everything is in it.
    """

    name: str
    table: str
    group_by: tuple[str, ...]
    measures: dict[str, str]
    columns: tuple[str, ...]
    groups: int
    version: int
    dataset_version: int
    built_at: dt.datetime | None
    last_rebuild: JobBody | None
    links: dict[str, str]


class RollupBodies(msgspec.Struct, frozen=True):
    """As declared."""

    data: list[RollupBody]


@get(
    "/v1/datasets/{dataset:str}/rollups",
    tags=["reports"],
    summary="The rollups of a dataset: what reports read",
    opt={"scope": "read"},
    responses=responses(404),
)
async def list_rollups(pool: Pool, catalog: Catalog, dataset: str) -> Answer[RollupBodies]:
    """None for a dataset that declares none."""
    declared = await catalog.dataset(pool, dataset)
    found = []
    async with pool.acquire() as db:
        for one in declared.rollups:
            stands = await rollups.select_rollup(db, dataset, one)
            last = await rollups.select_last_rebuild(db, dataset, one.name)
            job = await queries.select_job(db, last) if last else None
            found.append(
                RollupBody(
                    name=one.name,
                    table=f"rollups.{one.table(dataset)}",
                    group_by=one.group_by,
                    measures=one.measures,
                    columns=stands.columns,
                    groups=stands.groups,
                    version=stands.version,
                    dataset_version=stands.dataset_version,
                    built_at=stands.built_at,
                    last_rebuild=to_body(*job) if job else None,
                    links={"rebuilds": f"/v1/datasets/{dataset}/rollups/{one.name}/rebuilds"},
                )
            )
    return Answer(RollupBodies(found))


@post(
    "/v1/datasets/{dataset:str}/rollups/{rollup:str}/rebuilds",
    tags=["reports"],
    summary="Compute a rollup from the rows, and mend what differs",
    description="As a job, while reports read it: they see the old groups until it ends. It is only needed if somebody"
    " has meddled with the tables; `mended` tells how many groups were wrong. While a rebuild of the rollup is under"
    " way no other begins: the answer is that job, with `Millrace-Attached: true`. `Prefer: wait=N` waits for the job"
    " to end; with an `Idempotency-Key` the same request can be sent again safely.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 422),
        202: ResponseSpec(data_container=RebuildJobBody, description="The job, under way"),
        200: ResponseSpec(data_container=RebuildJobBody, description="The job, ended"),
    },
)
async def rebuild_rollup(
    request: Request[Any, Any, Any],
    dataset: str,
    rollup: str,
    pool: Pool,
    accepting: Accepting,
    catalog: Catalog,
    stopping: asyncio.Event,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """The job that begins, or the one under way."""
    names = [one.name for one in (await catalog.dataset(pool, dataset)).rollups]
    if rollup not in names:
        raise not_found("rollup", rollup, hint=f"{dataset} has {', '.join(names) or 'none'}.")
    command = RebuildRollup(dataset=dataset, job_id=uuid7(), rollup=rollup)
    asked = attaching.to_asked("rebuild", command, rollup, api_key=request.user.id, idempotency_key=idempotency_key)
    return await preferences.accepted(pool, stopping, await accepting.accept(asked), prefer)
