"""POST /v1/datasets/{dataset}/syncs and GET /v1/datasets/{dataset}/sources: rows from outside, fetched on demand."""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import Parameter

from services.gateway.catalog import Catalog
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

LARGEST_BYTES = 1 << 16


class Sync(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent."""

    source: str | None = None


class SourceBody(msgspec.Struct, frozen=True):
    """A source of a dataset: as declared, how far it was read, when it is due next, and its last sync.

    `cursor` is null for a source that is read anew each time, `next_at` for one without a schedule.
    """

    name: str
    declaration: dict[str, Any]
    cursor: str | None
    next_at: dt.datetime | None
    last_job: JobBody | None
    links: dict[str, str]


class Sources(msgspec.Struct, frozen=True):
    """As declared."""

    data: list[SourceBody]


@dataclass
class SyncOperation(Operation):
    """An operation whose body may be left out."""

    def __post_init__(self) -> None:
        """Called by Litestar."""
        body = Schema(type=OpenAPIType.OBJECT, properties={"source": Schema(type=OpenAPIType.STRING)})
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=False)


@post(
    "/v1/datasets/{dataset:str}/syncs",
    tags=["sources"],
    summary="Pull the rows of a source",
    description="As a job, like a file; a dataset with a single source needs no body. While a sync of the source is"
    " under way no other begins: the answer is that job, with `Millrace-Attached: true`. `Prefer: wait=N` waits for the"
    " job to end; with an `Idempotency-Key` the same request can be sent again safely.",
    opt={"scope": "write"},
    status_code=202,
    request_max_body_size=LARGEST_BYTES,
    operation_class=SyncOperation,
    responses={
        **responses(400, 404, 413, 422),
        200: ResponseSpec(data_container=JobBody, description="The job, ended"),
    },
)
async def start_sync(
    request: Request[Any, Any, Any],
    dataset: str,
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    stopping: asyncio.Event,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """The job that begins, or the one under way."""
    declared = await catalog.dataset(pool, dataset)
    source = _source(declared, _read(await request.body()))
    command = PullPage(dataset=dataset, job_id=uuid7(), source=source, chunk=1)
    mode: Mode = "upsert" if declared.keyed else "append"
    job = syncs.sync_request(command, mode, api_key=request.user.id, idempotency_key=idempotency_key)
    return await respond(pool, stopping, await submitter.submit(job), prefer)


@get(
    "/v1/datasets/{dataset:str}/sources",
    tags=["sources"],
    summary="The sources of a dataset",
    description="Each as declared (a secret is declared by its name alone), with its cursor, the time of its next tick"
    " and its last sync.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def list_sources(pool: Pool, catalog: Catalog, dataset: str) -> Answer[Sources]:
    """In declared order."""
    declared = await catalog.dataset(pool, dataset)
    async with pool.acquire() as db:
        cursors = await syncs.select_cursors(db, dataset)
        due = {one.source: one.next_at for one in await schedules.select_all(db) if one.dataset == dataset}
        jobs = {}
        for name, job_id in (await syncs.select_last(db, dataset)).items():
            if (found := await queries.select_job(db, job_id)) is not None:
                jobs[name] = to_body(*found)
    links = {"syncs": f"/v1/datasets/{dataset}/syncs", "dataset": f"/v1/datasets/{dataset}"}
    return Answer(
        Sources(
            [
                SourceBody(
                    name=source.name,
                    declaration=msgspec.to_builtins(source),
                    cursor=cursors.get(source.name),
                    next_at=due.get(source.name),
                    last_job=jobs.get(source.name),
                    links=links,
                )
                for source in declared.sources
            ]
        )
    )


def _read(body: bytes) -> str | None:
    """The source's name, if one is given. Raises Problem 400 or 422."""
    if not body.strip():
        return None
    shape = 'The body must be a JSON object, {"source": "..."}, or empty.'
    try:
        return msgspec.json.decode(body, type=Sync).source
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_body", f"{shape} {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "invalid_json", f"{shape} {error}.") from error


def _source(dataset: Dataset, wanted: str | None) -> str:
    """The one that is meant. Raises Problem 404 or 422, which names those that there are."""
    names = [source.name for source in dataset.sources]
    known = f"{dataset.name} has the sources {', '.join(names)}." if names else f"{dataset.name} has no sources."
    if wanted is None:
        if len(names) != 1:
            hint = 'Say which: {"source": "..."}.' if names else "Declare one under `sources` in the dataset."
            raise Problem(422, "source_missing", known, hint=hint)
        return names[0]
    if wanted not in names:
        raise not_found("source", wanted, hint=known)
    return wanted
