"""POST /v1/jobs/{job}/replay: failed rows once more."""

import asyncio
import hashlib
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import failed_rows, follow, kinds, queries
from services.gateway.jobs.failed_rows import ErrorFilter
from services.gateway.jobs.job import JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from shared.catalog.dataset import Dataset
from shared.contracts.commands import PlanReplay
from shared.contracts.parts import LoadOptions
from shared.db import Pool

REPLAY = kinds.register(JobKind(name="replay", command=PlanReplay, owner="ingestor", routes=follow.LOAD_ROUTES))


@post(
    "/v1/jobs/{job:str}/replay",
    tags=["jobs"],
    summary="Have failed rows read again",
    description="A job that takes up the open failed rows of another, as they are: because what they refer to is there"
    " now, or the declaration has been loosened. All of them, or those with an error of this code in this column. Rows"
    " that fail again are failed rows of the new job, with the lines of the old. Rows with a stray quote, or with text"
    " that can't be decoded or is too long, must be mended: they stay open, and the job's `warning` counts them.",
    opt={"scope": "write"},
    status_code=202,
    responses={
        **responses(400, 404, 409, 422),
        200: ResponseSpec(data_container=JobBody, description="The job, ended"),
    },
)
async def replay_job(
    request: Request[Any, Any, Any],
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    stopping: asyncio.Event,
    job: str,
    data: ErrorFilter | None = None,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """Accepted when it is on disk."""
    chosen = data or failed_rows.ALL
    async with pool.acquire() as db:
        about = await queries.find_job(db, job)
        brought = await failed_rows.select_input(db, about.id)
        whole, broken = await failed_rows.count_open(db, about.id, chosen)
        asked_before = idempotency_key and await queries.select_by_idempotency_key(db, request.user.id, idempotency_key)
    if not whole and not asked_before:
        raise _nothing_to_replay(broken)
    declared = await catalog.dataset(pool, about.dataset)
    command = PlanReplay(
        dataset=about.dataset,
        job_id=uuid7(),
        replay_of=about.id,
        load_options=_load_options(declared, brought.load_options if brought else LoadOptions()),
        code=chosen.code,
        column=chosen.column,
    )
    accepted = await submitter.submit(
        JobRequest(
            kind=REPLAY.name,
            command=command,
            mode=command.load_options.mode,
            api_key=request.user.id,
            idempotency_key=idempotency_key,
            fingerprint=hashlib.sha256(f"replay/{about.id}/{chosen}".encode()).hexdigest(),
            replay_of=about.id,
        )
    )
    return await respond(pool, stopping, accepted, prefer)


def _load_options(dataset: Dataset, before: LoadOptions) -> LoadOptions:
    """As of the first time, but that rows are added, and a bad one does not stop the others.

    `insert` stays what it is: who wanted no row to change does not want it now.
    """
    mode = before.mode if before.mode == "insert" else "upsert" if dataset.keyed else "append"
    return msgspec.structs.replace(before, mode=mode, max_errors=None, max_error_rate=None, strict=False)


def _nothing_to_replay(broken: int) -> Problem:
    if broken:
        detail = f"None of the {broken} open rows can be read again as it is."
        hint = "Download them as CSV, mend them, and import the file."
    else:
        detail = "No open failed row of this job fits."
        hint = "GET …/failed-rows shows which errors there are, and which rows were replayed or discarded already."
    return Problem(409, "nothing_to_replay", detail, hint=hint)
