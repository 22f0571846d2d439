"""POST /v1/datasets/{dataset}/imports: a file comes in, a job goes out."""

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from litestar import Request, post
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.imports.header_check import QUOTE, CheckedUpload, to_said
from services.gateway.imports.load_options import to_load_options
from services.gateway.jobs import follow, kinds
from services.gateway.jobs.job import JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.settings import GatewaySettings
from services.gateway.uploads.charset import Encoding
from services.gateway.uploads.openapi import Upload
from services.gateway.uploads.upload import open_upload, too_large
from shared.contracts.commands import PlanImport
from shared.contracts.parts import Mode
from shared.db import Pool
from shared.spool import Spool, TooLarge
from shared.telemetry import metrics

IMPORT = kinds.register(JobKind(name="import", command=PlanImport, owner="ingestor", routes=follow.LOAD_ROUTES))


@post(
    "/v1/datasets/{dataset:str}/imports",
    tags=["import"],
    summary="Import a file",
    description="The body is the file itself (CSV, TSV, lines of JSON, or one JSON array), or a form with the file in"
    " it; gzip and zstd are inflated. It is checked against the dataset while it comes in, kept, and loaded as a job."
    " `Prefer: wait=N` waits up to N seconds for the job to end; with an `Idempotency-Key` the same request can be"
    " sent again safely.",
    opt={"scope": "write"},
    status_code=202,
    request_max_body_size=None,
    operation_class=Upload,
    responses=responses(400, 404, 408, 413, 415, 422),
)
async def import_file(
    request: Request[Any, Any, Any],
    dataset: str,
    pool: Pool,
    submitter: JobSubmitter,
    spool: Spool,
    catalog: Catalog,
    settings: GatewaySettings,
    stopping: asyncio.Event,
    *,
    mode: Annotated[
        Mode | None,
        Parameter(
            description="`upsert` (with a key, the default) updates rows whose key is there, `insert` refuses them;"
            " `append` (without a key, the default) adds rows; `replace` leaves the rows of the file and no others"
        ),
    ] = None,
    delimiter: Annotated[
        str | None, Parameter(description="Between cells: one character, or comma, semicolon, tab, pipe")
    ] = None,
    quote: Annotated[str, Parameter(description="Around cells: one character")] = QUOTE,
    header: Annotated[
        Literal["auto", "present", "absent"], Parameter(description="Whether the first line names the columns")
    ] = "auto",
    encoding: Annotated[
        Encoding,
        Parameter(description="`auto`: as the byte order mark says, else as the Content-Type says, else UTF-8"),
    ] = "auto",
    validate_only: Annotated[bool, Parameter(description="Check everything and write nothing")] = False,
    check_references: Annotated[
        bool, Parameter(description="Refuse rows that refer to a row that is not there")
    ] = False,
    max_errors: Annotated[
        int | None, Parameter(ge=0, description="More failed rows than this fail the job; for `replace`, 0 by default")
    ] = None,
    max_error_rate: Annotated[
        float | None, Parameter(ge=0, le=1, description="A larger share of failed rows fails the job, after 1000 rows")
    ] = None,
    max_failed_rows: Annotated[
        int, Parameter(ge=0, le=10_000_000, description="How many failed rows are kept; all are counted")
    ] = 100_000,
    max_shrink: Annotated[
        float, Parameter(ge=0, le=1, description="The largest share of its rows that a table may lose in a `replace`")
    ] = 0.5,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """Nothing is kept of a file that is refused or cut off."""
    declared = await catalog.dataset(pool, dataset)
    load_options = to_load_options(
        declared,
        mode,
        validate_only=validate_only,
        check_references=check_references,
        max_errors=max_errors,
        max_error_rate=max_error_rate,
        max_failed_rows=max_failed_rows,
        max_shrink=max_shrink,
    )
    limit = settings.max_upload_bytes
    upload = await open_upload(request, encoding=encoding, limit=limit)
    said = to_said(upload.media, delimiter=delimiter, quote=quote, header=header)
    judged = CheckedUpload(upload.pieces, declared, said)
    job_id = uuid7()
    try:
        stored = await spool.store(str(job_id), judged.pieces(), limit=limit)
    except TooLarge as error:
        raise too_large(error.limit) from error
    metrics.UPLOAD_BYTES.labels(dataset).inc(stored.bytes_total)
    command = PlanImport(
        dataset=dataset,
        job_id=job_id,
        file=stored.file,
        sha256=stored.sha256,
        bytes_total=stored.bytes_total,
        dialect=judged.dialect,
        load_options=load_options,
    )
    asked = JobRequest(
        kind=IMPORT.name,
        command=command,
        mode=load_options.mode,
        api_key=request.user.id,
        idempotency_key=idempotency_key,
        fingerprint=_fingerprint(command),
        bytes_total=command.bytes_total,
    )
    try:
        accepted = await submitter.submit(asked)
    except Problem:
        spool.delete(command.file)
        raise
    if accepted.replayed:
        spool.delete(command.file)
    return await respond(pool, stopping, accepted, prefer)


def _fingerprint(command: PlanImport) -> str:
    """Of what is asked, not of how it was sent: a form and a raw body with the same file are the same."""
    asked = f"{command.dataset}/{command.load_options}/{command.dialect}/{command.sha256}"
    return hashlib.sha256(asked.encode()).hexdigest()
