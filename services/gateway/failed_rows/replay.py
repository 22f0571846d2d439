"""POST /v1/jobs/{job}/replay: loads failed rows again, as a job."""

import hashlib
from typing import Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec

from services.gateway.catalog import Catalog
from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import follow, kinds, queries
from services.gateway.jobs.job import JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from shared.catalog.dataset import Dataset
from shared.contracts.commands import PlanReplay
from shared.contracts.parts import LoadOptions
from shared.db import Pool
from shared.reads.ingestor import failed_rows, imports
from shared.reads.ingestor.failed_rows import ErrorFilter

REPLAY = kinds.register(JobKind(name="replay", command=PlanReplay, owner="ingestor", routes=follow.LOAD_ROUTES))


@post(
    "/v1/jobs/{job:str}/replay",
    tags=["jobs"],
    summary="Replay failed rows",
    description="Creates a job that loads the open failed rows of another job again, unchanged: for example after the"
    " rows that they refer to were loaded, or after the declaration was relaxed. `code` and `column` select the rows"
    " with such an error; the default is all rows. Rows that fail again become failed rows of the new job and keep"
    " their line numbers. Rows with a stray quote, undecodable text or too long text can't be replayed: they stay open"
    " until you fix them, and the job's `warning` counts them.",
    opt={"scope": "write"},
    status_code=202,
    responses={
        **responses(400, 404, 409, 422),
        200: ResponseSpec(data_container=JobBody, description="The finished job"),
    },
)
async def replay_job(
    request: Request[Any, Any, Any],
    pool: Pool,
    submitter: JobSubmitter,
    catalog: Catalog,
    job: str,
    data: ErrorFilter | None = None,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Responds after the job is committed."""
    error_filter = data or failed_rows.ALL
    async with pool.acquire() as db:
        failed_job = await queries.find_job(db, job)
        job_input = await imports.select_input(db, failed_job.id)
        replayable, unreadable = await failed_rows.count_open(db, failed_job.id, error_filter)
        key = idempotency_key
        submitted_before = key and await queries.select_by_idempotency_key(db, request.user.id, key)
    if not replayable and not submitted_before:
        raise _nothing_to_replay(unreadable)
    declared = await catalog.dataset(pool, failed_job.dataset)
    command = PlanReplay(
        dataset=failed_job.dataset,
        job_id=uuid7(),
        replay_of=failed_job.id,
        load_options=_load_options(declared, job_input.load_options if job_input else LoadOptions()),
        code=error_filter.code,
        column=error_filter.column,
    )
    accepted = await submitter.submit(
        JobRequest(
            kind=REPLAY.name,
            command=command,
            mode=command.load_options.mode,
            api_key=request.user.id,
            idempotency_key=idempotency_key,
            deadline=deadline,
            fingerprint=hashlib.sha256(failed_job.id.bytes + msgspec.json.encode(error_filter)).hexdigest(),
            replay_of=failed_job.id,
        )
    )
    return await respond(submitter, accepted, prefer)


def _load_options(dataset: Dataset, original: LoadOptions) -> LoadOptions:
    """Returns the options of the failed job without its error limits, and with a mode that does not replace the table.

    `insert` stays `insert`, so that no existing row changes.
    """
    mode = original.mode if original.mode == "insert" else "upsert" if dataset.keyed else "append"
    return msgspec.structs.replace(original, mode=mode, max_errors=None, max_error_rate=None, strict=False)


def _nothing_to_replay(unreadable: int) -> Problem:
    if unreadable:
        detail = f"None of the {unreadable} open rows can be replayed unchanged."
        hint = "Download them as CSV, fix them, and import the file."
    else:
        detail = "No open failed row of this job matches."
        hint = "GET …/failed-rows lists the errors, and the rows that are already replayed or discarded."
    return Problem(409, "nothing_to_replay", detail, hint=hint)
