"""POST /v1/datasets/{dataset}/rows: loads a batch of rows as a job."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Operation, Schema
from litestar.params import Parameter

from services.gateway.http import json_body, preferences
from services.gateway.http.parameters import Deadline, IdempotencyKey
from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import follow, kinds
from services.gateway.jobs.job import JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, Submission, uuid7
from shared.catalog.dataset import Dataset
from shared.contracts.commands import LoadRows
from shared.contracts.parts import LoadOptions
from shared.reads.ingestor import failed_rows

MOST_ROWS = 1000
LARGEST_BYTES = 8 << 20
STRICT_SECONDS = 30
REFUSED = "rows_refused"
EXPECTED = 'The body must be a JSON object: {"rows": [{...}, ...]}.'


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the request."""

    rows: list[msgspec.Raw]


@dataclass
class BatchOperation(Operation):
    """An operation whose body is a batch of rows that are not parsed."""

    def __post_init__(self) -> None:
        """Describes the body."""
        row = Schema(type=OpenAPIType.OBJECT)
        rows = Schema(type=OpenAPIType.ARRAY, items=row, min_items=1, max_items=MOST_ROWS)
        body = Schema(type=OpenAPIType.OBJECT, properties={"rows": rows}, required=["rows"])
        self.request_body = json_body.describe(body, required=True)


BODIES = msgspec.json.Decoder(BatchBody)
OBJECTS = msgspec.json.Decoder(dict[str, msgspec.Raw])

ROWS = kinds.register(
    JobKind(
        name="rows",
        command=LoadRows,
        owner="ingestor",
        routes=follow.LOAD_ROUTES,
        keep_command=False,
    )
)


@post(
    "/v1/datasets/{dataset:str}/rows",
    tags=["rows"],
    summary="Load 1 to 1000 rows",
    description="Creates a job, like an import of a file. A row with an existing key updates that row; fields that no"
    " row of the batch has keep their values. Invalid rows become failed rows and the others are loaded. With `Prefer:"
    " handling=strict` either all rows are loaded or none, and the response lists the errors of each row. `Prefer:"
    " wait=N` waits for the job to finish.",
    opt={"scope": "write"},
    status_code=202,
    request_max_body_size=LARGEST_BYTES,
    operation_class=BatchOperation,
    responses={
        **responses(400, 404, 413, 422),
        200: ResponseSpec(data_container=JobBody, description="The finished job"),
    },
)
async def load_rows(
    request: Request[Any, Any, Any],
    dataset: str,
    submitter: JobSubmitter,
    prefer: Annotated[
        str | None, Parameter(header="Prefer", description="wait=N in seconds; handling=strict or lenient")
    ] = None,
    idempotency_key: IdempotencyKey = None,
    deadline: Deadline = None,
) -> Answer[JobBody]:
    """Responds after the job is committed. Takes one dependency: Litestar starts a task for each of several."""
    declared = await submitter.catalog.dataset(submitter.pool, dataset)
    body = await request.body()
    strict = preferences.is_strict(prefer)
    load_options = LoadOptions(mode="upsert" if declared.keyed else "append", strict=strict)
    rows = _decode(body)
    command = LoadRows(
        dataset=dataset, job_id=uuid7(), rows=rows, columns=_columns(declared, rows), load_options=load_options
    )
    accepted = await submitter.submit(
        JobRequest(
            kind=ROWS.name,
            command=command,
            mode=load_options.mode,
            api_key=request.user.id,
            idempotency_key=idempotency_key,
            deadline=deadline,
            fingerprint=hashlib.sha256(dataset.encode() + msgspec.json.encode(load_options) + body).hexdigest(),
            bytes_total=sum(len(bytes(row)) for row in rows),
            chunks=1,
        )
    )
    if not strict:
        return await respond(submitter, accepted, prefer)
    return await _respond_strictly(submitter, accepted, prefer)


def _decode(body: bytes) -> tuple[msgspec.Raw, ...]:
    """Returns the rows, each as JSON on one line. Raises Problem 400 or 422."""
    rows = json_body.decode(body, BODIES, EXPECTED).rows
    if not 1 <= len(rows) <= MOST_ROWS:
        detail = f"A batch has 1 to {MOST_ROWS} rows; this one has {len(rows)}."
        raise Problem(422, "batch_size", detail, hint="Send more rows as several batches, or as a file.")
    return tuple(msgspec.Raw(msgspec.json.format(row, indent=-1)) for row in rows)


def _columns(dataset: Dataset, rows: tuple[msgspec.Raw, ...]) -> tuple[str, ...]:
    """Returns the fields that any row has, and the required ones."""
    named: set[str] = set()
    for row in rows:
        try:
            named |= OBJECTS.decode(row).keys()
        except msgspec.MsgspecError:
            continue  # the ingestor reports the error
    return tuple(
        field.name
        for field in dataset.input_fields
        if field.name in named or (field.required and field.default is None)
    ) or tuple(field.name for field in dataset.input_fields)


async def _respond_strictly(submitter: JobSubmitter, accepted: Submission, prefer: str | None) -> Answer[JobBody]:
    """Waits for the job. Raises Problem 422 with the errors of all rows if the ingestor has refused the batch."""
    seconds = preferences.wait_seconds(prefer)
    wait = f"wait={STRICT_SECONDS if seconds is None else seconds}"
    answer = await respond(submitter, accepted, wait)
    answer.headers["Preference-Applied"] = "handling=strict" if seconds is None else f"handling=strict, {wait}"
    job = answer.content
    if job.error is None or job.error.code != REFUSED:
        return answer
    async with submitter.pool.acquire() as db:
        refused = await failed_rows.select_failed_rows(db, job.id, after=0, limit=MOST_ROWS)
    errors = [
        Detail(
            code=error["code"],
            detail=error["detail"],
            pointer=f"#/rows/{row.line - 1}" + (f"/{_escape_pointer(error['column'])}" if error["column"] else ""),
            column=error["column"],
        )
        for row in refused
        for error in row.errors
    ]
    raise Problem(
        422, REFUSED, job.error.detail, errors=errors, hint=f"No row was written; job {job.id} keeps the failed rows."
    )


def _escape_pointer(key: str) -> str:
    """Escapes a part of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
