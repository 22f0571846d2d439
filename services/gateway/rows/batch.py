"""POST /v1/datasets/{dataset}/rows: up to a thousand rows at once."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import Parameter

from services.gateway.http import preferences
from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import failed_rows, follow, kinds
from services.gateway.jobs.job import JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, Submission, uuid7
from shared.catalog.dataset import Dataset
from shared.contracts.commands import LoadRows
from shared.contracts.parts import LoadOptions
from shared.db import Pool

MOST_ROWS = 1000
LARGEST_BYTES = 8 << 20
STRICT_SECONDS = 30
REFUSED = "rows_refused"
BODY = 'The body must be a JSON object: {"rows": [{...}, ...]}.'


class Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent."""

    rows: list[msgspec.Raw]


@dataclass
class Batch(Operation):
    """An operation whose body is a batch. Litestar can't see that: the rows are read as they are written."""

    def __post_init__(self) -> None:
        """The description of the body."""
        row = Schema(type=OpenAPIType.OBJECT)
        many = Schema(type=OpenAPIType.ARRAY, items=row, min_items=1, max_items=MOST_ROWS)
        body = Schema(type=OpenAPIType.OBJECT, properties={"rows": many}, required=["rows"])
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=True)


BODIES = msgspec.json.Decoder(Rows)
OBJECTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


ROWS = kinds.register(
    JobKind(name="rows", command=LoadRows, owner="ingestor", routes=follow.LOAD_ROUTES, keep_command=False)
)


@post(
    "/v1/datasets/{dataset:str}/rows",
    tags=["rows"],
    summary="Load 1 to 1000 rows",
    description="Loaded as a job, like a file: rows whose key is there are updated. Fields that no row of the batch"
    " names keep their values. Bad rows become failed rows and the others load; with `Prefer: handling=strict` all of"
    " them load or none, and the answer says what is wrong with which. `Prefer: wait=N` waits for the job to end.",
    opt={"scope": "write"},
    status_code=202,
    request_max_body_size=LARGEST_BYTES,
    operation_class=Batch,
    responses={
        **responses(400, 404, 413, 422),
        200: ResponseSpec(data_container=JobBody, description="The job, ended"),
    },
)
async def load_rows(
    request: Request[Any, Any, Any],
    dataset: str,
    submitter: JobSubmitter,
    prefer: Annotated[
        str | None, Parameter(header="Prefer", description="wait=N in seconds; handling=strict or lenient")
    ] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """Accepted when it is on disk. Takes one dependency: Litestar starts a task for each if there are several."""
    declared = await submitter.catalog.dataset(submitter.pool, dataset)
    body = await request.body()
    strict = preferences.is_strict(prefer)
    load_options = LoadOptions(mode="upsert" if declared.keyed else "append", strict=strict)
    found = _read(body)
    command = LoadRows(
        dataset=dataset, job_id=uuid7(), rows=found, columns=_columns(declared, found), load_options=load_options
    )
    accepted = await submitter.submit(
        JobRequest(
            kind=ROWS.name,
            command=command,
            mode=load_options.mode,
            api_key=request.user.id,
            idempotency_key=idempotency_key,
            fingerprint=hashlib.sha256(f"{dataset}/{load_options}/".encode() + body).hexdigest(),
            bytes_total=sum(len(bytes(row)) for row in found),
            chunks=1,
        )
    )
    if not strict:
        return await respond(submitter.pool, submitter.stopping, accepted, prefer)
    return await _strictly(submitter.pool, submitter.stopping, accepted, prefer)


def _read(body: bytes) -> tuple[msgspec.Raw, ...]:
    """The rows, each on one line. Raises Problem 400 or 422."""
    try:
        body.decode()
        found = BODIES.decode(body).rows
        if not 1 <= len(found) <= MOST_ROWS:
            detail = f"A batch has 1 to {MOST_ROWS} rows; this one has {len(found)}."
            raise Problem(422, "batch_size", detail, hint="Send more rows as several batches, or as a file.")
        return tuple(msgspec.Raw(msgspec.json.format(row, indent=-1)) for row in found)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_body", f"{BODY} {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid_json", f"{BODY} {error}.") from error


def _columns(dataset: Dataset, found: tuple[msgspec.Raw, ...]) -> tuple[str, ...]:
    """The fields that rows name, and those that they had to."""
    named: set[str] = set()
    for row in found:
        try:
            named |= OBJECTS.decode(row).keys()
        except msgspec.MsgspecError:
            continue  # the ingestor says what is wrong with it
    return tuple(
        field.name
        for field in dataset.input_fields
        if field.name in named or (field.required and field.default is None)
    ) or tuple(field.name for field in dataset.input_fields)


async def _strictly(pool: Pool, stopping: asyncio.Event, accepted: Submission, prefer: str | None) -> Answer[JobBody]:
    """Raises Problem 422 with everything that is wrong, once the ingestor has said so."""
    seconds = preferences.wait_seconds(prefer)
    wait = f"wait={STRICT_SECONDS if seconds is None else seconds}"
    answer = await respond(pool, stopping, accepted, wait)
    answer.headers["Preference-Applied"] = "handling=strict" if seconds is None else f"handling=strict, {wait}"
    job = answer.content
    if job.error is None or job.error.code != REFUSED:
        return answer
    async with pool.acquire() as db:
        refused = await failed_rows.select_failed_rows(db, job.id, after=0, limit=MOST_ROWS)
    errors = [
        Detail(
            code=error["code"],
            detail=error["detail"],
            pointer=f"#/rows/{row.line - 1}" + (f"/{_escaped(error['column'])}" if error["column"] else ""),
            column=error["column"],
        )
        for row in refused
        for error in row.errors
    ]
    raise Problem(
        422, REFUSED, job.error.detail, errors=errors, hint=f"Nothing was written; job {job.id} keeps the rows."
    )


def _escaped(key: str) -> str:
    """As a part of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
