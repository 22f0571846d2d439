"""POST /v1/datasets/{dataset}/syncs: starts a sync; GET /v1/datasets/{dataset}/sources: lists sources."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Operation, Schema

from services.gateway.catalog import Catalog
from services.gateway.http import json_body
from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import Problem, not_found, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import queries
from services.gateway.jobs.job import JobBody
from services.gateway.jobs.kinds import to_body
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.sources import schedules, syncs
from shared.catalog.dataset import Dataset
from shared.contracts.commands import PullPage
from shared.contracts.parts import Mode
from shared.db import Pool
from shared.reads.ingestor.sources import select_cursors

LARGEST_BYTES = 1 << 16


class SyncBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the request."""

    source: str | None = None


SYNC_BODY = msgspec.json.Decoder(SyncBody)
EXPECTED = 'The body must be a JSON object, {"source": "..."}, or empty.'


class SourceBody(msgspec.Struct, frozen=True):
    """A source of a dataset: its declaration, its cursor, its next tick and its last sync.

    `cursor` is null for a source that each sync reads from the beginning, `next_at` for one without a schedule.
    """

    name: str
    declaration: dict[str, Any]
    cursor: str | None
    next_at: dt.datetime | None
    last_job: JobBody | None
    links: dict[str, str]


class Sources(msgspec.Struct, frozen=True):
    """The sources of a dataset, in declared order."""

    data: list[SourceBody]


@dataclass
class SyncOperation(Operation):
    """An operation with an optional body."""

    def __post_init__(self) -> None:
        """Describes the body."""
        body = Schema(type=OpenAPIType.OBJECT, properties={"source": Schema(type=OpenAPIType.STRING)})
        self.request_body = json_body.describe(body, required=False)


@post(
    "/v1/datasets/{dataset:str}/syncs",
    tags=["sources"],
    summary="Sync a source",
    description="Creates a job that pulls the rows of the source. The body may be omitted if the dataset has a single"
    " source. Only one sync of a source runs at a time: if one is running, the response is that job, with"
    " `Millrace-Attached: true`. `Prefer: wait=N` waits for the job to finish. Send an `Idempotency-Key` to retry the"
    " request safely.",
    opt={"scope": "write"},
    status_code=202,
    request_max_body_size=LARGEST_BYTES,
    operation_class=SyncOperation,
    responses={
        **responses(400, 404, 413, 422),
        200: ResponseSpec(data_container=JobBody, description="The finished job"),
    },
)
async def start_sync(
    request: Request[Any, Any, Any],
    dataset: str,
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Returns the new job, or the one that is running."""
    declared = await catalog.dataset(pool, dataset)
    source = _find_source(declared, _decode(await request.body()))
    command = PullPage(dataset=dataset, job_id=uuid7(), source=source, chunk=1)
    mode: Mode = "upsert" if declared.keyed else "append"
    sync = syncs.sync_request(
        command, mode, api_key=request.user.id, idempotency_key=idempotency_key, deadline=deadline
    )
    return await respond(submitter, await submitter.submit(sync), prefer)


@get(
    "/v1/datasets/{dataset:str}/sources",
    tags=["sources"],
    summary="List sources of a dataset",
    description="Returns the declaration of each source (which contains only the names of secrets), its cursor, the"
    " time of its next tick and its last sync.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def list_sources(pool: Pool, catalog: Catalog, dataset: str) -> Answer[Sources]:
    """Returns the sources in declared order."""
    declared = await catalog.dataset(pool, dataset)
    async with pool.acquire() as db:
        cursors = await select_cursors(db, dataset)
        scheduled = await schedules.select_schedules(db)
        jobs = {}
        for name, job_id in (await syncs.select_last(db, dataset)).items():
            if (found := await queries.select_job(db, job_id)) is not None:
                jobs[name] = to_body(*found)
    next_ticks = {entry.source: entry.next_at for entry in scheduled if entry.dataset == dataset}
    links = {"syncs": f"/v1/datasets/{dataset}/syncs", "dataset": f"/v1/datasets/{dataset}"}
    return Answer(
        Sources(
            [
                SourceBody(
                    name=source.name,
                    declaration=msgspec.to_builtins(source),
                    cursor=cursors.get(source.name),
                    next_at=next_ticks.get(source.name),
                    last_job=jobs.get(source.name),
                    links=links,
                )
                for source in declared.sources
            ]
        )
    )


def _decode(body: bytes) -> str | None:
    """Returns the name of the source, or None if the body has none. Raises Problem 400 or 422."""
    return json_body.decode(body, SYNC_BODY, EXPECTED).source if body.strip() else None


def _find_source(dataset: Dataset, name: str | None) -> str:
    """Returns the name, or that of the only source. Raises Problem 404 or 422 with the names of all sources."""
    names = [source.name for source in dataset.sources]
    known = f"{dataset.name} has the sources {', '.join(names)}." if names else f"{dataset.name} has no sources."
    if name is None:
        if len(names) != 1:
            hint = 'Name one of them: {"source": "..."}.' if names else "Declare one under `sources` in the dataset."
            raise Problem(422, "source_missing", known, hint=hint)
        return names[0]
    if name not in names:
        raise not_found("source", name, hint=known)
    return name
