"""POST /v1/datasets/{dataset}/imports: loads a file as a job."""

import hashlib
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.http.parameters import Deadline, IdempotencyKey, Prefer
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.imports.header_check import QUOTE, CheckedUpload, Header, parse_file_options
from services.gateway.imports.load_options import parse_load_options
from services.gateway.jobs import follow, kinds
from services.gateway.jobs.job import JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, uuid7
from services.gateway.settings import GatewaySettings
from services.gateway.uploads.charset import Encoding
from services.gateway.uploads.openapi import UploadOperation
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
    description="The body is the file itself (CSV, TSV, NDJSON or one JSON array) or a form with the file; gzip and"
    " zstd are decompressed. The gateway checks the header against the dataset, stores the file and creates a job that"
    " loads it. `Prefer: wait=N` waits up to N seconds for the job to finish. Send an `Idempotency-Key` to retry the"
    " request safely.",
    opt={"scope": "write"},
    status_code=202,
    request_max_body_size=None,
    operation_class=UploadOperation,
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
    *,
    mode: Annotated[
        Mode | None,
        Parameter(
            description="`upsert` (the default with a primary key) updates rows with an existing key, `insert` refuses"
            " them; `append` (the default without a primary key) adds rows; `replace` replaces all rows of the dataset"
        ),
    ] = None,
    delimiter: Annotated[
        str | None, Parameter(description="Cell delimiter: one character, or comma, semicolon, tab, pipe")
    ] = None,
    quote: Annotated[str, Parameter(description="Quote character of cells")] = QUOTE,
    header: Annotated[Header, Parameter(description="Whether the first line is a header")] = "auto",
    encoding: Annotated[
        Encoding,
        Parameter(description="`auto`: the byte order mark, or else the charset of the Content-Type, or else UTF-8"),
    ] = "auto",
    validate_only: Annotated[bool, Parameter(description="Validate all rows without writing any")] = False,
    check_references: Annotated[bool, Parameter(description="Refuse rows whose reference does not exist")] = False,
    max_errors: Annotated[
        int | None,
        Parameter(ge=0, description="Fail the job after more failed rows than this; 0 by default for `replace`"),
    ] = None,
    max_error_rate: Annotated[
        float | None,
        Parameter(ge=0, le=1, description="Fail the job at a larger share of failed rows, once 1000 rows are read"),
    ] = None,
    max_failed_rows: Annotated[
        int, Parameter(ge=0, le=10_000_000, description="Number of failed rows to store; all are counted")
    ] = 100_000,
    max_shrink: Annotated[
        float, Parameter(ge=0, le=1, description="Largest share of its rows that the dataset may lose in a `replace`")
    ] = 0.5,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Deletes the file if it is refused, incomplete, or already imported by the same request."""
    declared = await catalog.dataset(pool, dataset)
    load_options = parse_load_options(
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
    options = parse_file_options(upload.media, delimiter=delimiter, quote=quote, header=header)
    checked = CheckedUpload(upload.pieces, declared, options)
    job_id = uuid7()
    try:
        stored = await spool.store(str(job_id), checked.pieces(), limit=limit)
    except TooLarge as error:
        raise too_large(error.limit) from error
    metrics.UPLOAD_BYTES.labels(dataset).inc(stored.bytes_total)
    command = PlanImport(
        dataset=dataset,
        job_id=job_id,
        file=stored.file,
        sha256=stored.sha256,
        bytes_total=stored.bytes_total,
        dialect=checked.dialect,
        load_options=load_options,
    )
    job = JobRequest(
        kind=IMPORT.name,
        command=command,
        mode=load_options.mode,
        api_key=request.user.id,
        idempotency_key=idempotency_key,
        deadline=deadline,
        fingerprint=_fingerprint(command),
        bytes_total=command.bytes_total,
    )
    try:
        accepted = await submitter.submit(job)
    except Problem:
        spool.delete(command.file)
        raise
    if accepted.replayed:
        spool.delete(command.file)
    return await respond(submitter, accepted, prefer)


def _fingerprint(command: PlanImport) -> str:
    """Hashes the file and the options: a form and a raw body with the same file are the same request."""
    content = (command.dataset, command.load_options, command.dialect, command.sha256)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
