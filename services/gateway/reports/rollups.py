"""GET /v1/datasets/{dataset}/rollups and POST …/rollups/{rollup}/rebuilds: lists rollups, and rebuilds one as a job."""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get, post

from services.gateway.catalog import Catalog
from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import not_found, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import follow, kinds, queries
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import Job, JobBody
from services.gateway.jobs.kinds import JobKind, to_body
from services.gateway.jobs.respond import job_responses, respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from shared.bus.routes import on
from shared.contracts.commands import RebuildRollup
from shared.contracts.events import RollupRebuilt
from shared.db import Connection, Pool
from shared.reads import analytics


class RebuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """The number of groups of the rollup, and of those that differed from the rows."""

    groups: int
    mended: int


class RebuildJobBody(JobBody, frozen=True, kw_only=True):
    """A job that rebuilds a rollup from the rows. `result` is null until it has succeeded."""

    rollup: str
    result: RebuildResult | None


def to_rebuild_body(job: Job, body: JobBody) -> RebuildJobBody:
    """Adds the rollup and the result."""
    result = msgspec.convert(job.result, RebuildResult | None)
    return RebuildJobBody(**msgspec.structs.asdict(body), rollup=job.target or "", result=result)


async def follow_rebuilt(event: RollupRebuilt, db: Connection) -> JobEvents:
    """Ends the job: the rollup equals the sums of the rows."""
    result = {"groups": event.groups, "mended": event.mended}
    return await follow.succeed(db, event.job_id, event.version, result)


REBUILD = kinds.register(
    JobKind(
        name="rebuild",
        command=RebuildRollup,
        owner="analytics",
        routes=(on(RollupRebuilt, follow_rebuilt, then=JobEvents),),
        phase="count",
        exclusive="rollup",
        body=RebuildJobBody,
        to_body=to_rebuild_body,
        result="The `result` of a rebuild has the number of `groups` of its rollup and how many were `mended`.",
    )
)


class RollupBody(msgspec.Struct, frozen=True, kw_only=True):
    """A declared rollup. `columns` and `built_at` are empty until its table exists.

    `groups` is exact. The rollup includes the dataset up to `version`.
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
    """The rollups of a dataset, in declared order."""

    data: list[RollupBody]


@get(
    "/v1/datasets/{dataset:str}/rollups",
    tags=["reports"],
    summary="List the rollups of a dataset",
    opt={"scope": "read"},
    responses=responses(404),
)
async def list_rollups(pool: Pool, catalog: Catalog, dataset: str) -> Answer[RollupBodies]:
    """Returns the rollups of a dataset, with their state."""
    declaration = await catalog.dataset(pool, dataset)
    bodies = []
    async with pool.acquire() as db:
        for rollup in declaration.rollups:
            state = await analytics.select_rollup(db, dataset, rollup)
            job_id = await select_last_rebuild(db, dataset, rollup.name)
            job = await queries.select_job(db, job_id) if job_id else None
            bodies.append(
                RollupBody(
                    name=rollup.name,
                    table=analytics.rollup_name(rollup, dataset),
                    group_by=rollup.group_by,
                    measures=rollup.measures,
                    columns=state.columns,
                    groups=state.groups,
                    version=state.version,
                    dataset_version=state.dataset_version,
                    built_at=state.built_at,
                    last_rebuild=to_body(*job) if job else None,
                    links={"rebuilds": f"/v1/datasets/{dataset}/rollups/{rollup.name}/rebuilds"},
                )
            )
    return Answer(RollupBodies(bodies))


@post(
    "/v1/datasets/{dataset:str}/rollups/{rollup:str}/rebuilds",
    tags=["reports"],
    summary="Rebuild a rollup from the rows",
    description="Starts a job. Reports read the old groups until it ends. A rebuild is only needed after somebody has"
    " changed the tables by hand; `mended` is the number of groups that were wrong. While a rebuild of the rollup is"
    " running, other requests return the same job, with `Millrace-Attached: true`. `Prefer: wait=N` waits for the job's"
    " end. With an `Idempotency-Key`, the request can be repeated safely.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 422),
        **job_responses(RebuildJobBody),
    },
)
async def rebuild_rollup(
    request: Request[Any, Any, Any],
    dataset: str,
    rollup: str,
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Starts a job, or joins the running one."""
    names = [declared.name for declared in (await catalog.dataset(pool, dataset)).rollups]
    if rollup not in names:
        raise not_found("rollup", rollup, hint=f"{dataset} has {', '.join(names) or 'none'}.")
    command = RebuildRollup(dataset=dataset, job_id=uuid7(), rollup=rollup)
    job_request = kinds.build_request(
        REBUILD, command, rollup, api_key=request.user.id, idempotency_key=idempotency_key, deadline=deadline
    )
    return await respond(submitter, await submitter.submit(job_request), prefer)


async def select_last_rebuild(db: Connection, dataset: str, rollup: str) -> UUID | None:
    """Selects the id of the latest rebuild job of a rollup."""
    job_id: UUID | None = await db.fetchval(
        "SELECT id FROM jobs WHERE kind = $3 AND dataset = $1 AND target = $2 ORDER BY id DESC LIMIT 1",
        dataset,
        rollup,
        REBUILD.name,
    )
    return job_id
