"""POST /v1/datasets/{dataset}/imports: a file comes in, a job goes out."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID

import structlog
from litestar import Request, post
from litestar.exceptions import ClientException
from litestar.params import Parameter

from services.gateway import preferences, queries, uploads
from services.gateway.answers import Answer
from services.gateway.catalog import Catalog
from services.gateway.docs import Upload
from services.gateway.handlers import announce_created
from services.gateway.job import Job, JobBody, to_body
from services.gateway.problems import Detail, Problem, responses
from services.gateway.settings import GatewaySettings
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.catalog import header as csv_header
from shared.catalog.dataset import Dataset
from shared.contracts.commands import PlanImport
from shared.contracts.parts import Dialect
from shared.db import Pool, transaction
from shared.spool import Spool, TooLarge
from shared.telemetry import metrics

PEEK_BYTES = 1 << 16
RETRY_SECONDS = 1
log = structlog.get_logger()


@post(
    "/v1/datasets/{dataset:str}/imports",
    tags=["import"],
    summary="Import a CSV file",
    description="The body is the file itself (`text/csv`), or a form with the file in it. It is checked against the"
    " dataset while it comes in, kept, and loaded as a job. `Prefer: wait=N` waits up to N seconds for the job to end;"
    " with an `Idempotency-Key` the same request can be sent again safely.",
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
    relay: Relay,
    spool: Spool,
    catalog: Catalog,
    told: GatewaySettings,
    stopping: asyncio.Event,
    delimiter: Annotated[str, Parameter(description="One character between the cells of a line")] = ",",
    header: Annotated[
        Literal["auto", "present", "absent"], Parameter(description="Whether the first line names the columns")
    ] = "auto",
    mode: Annotated[Literal["upsert"], Parameter(description="Rows whose key is there already are updated")] = "upsert",
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """Nothing is kept of a file that is refused or cut off."""
    declared = await catalog.dataset(pool, dataset)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise Problem(
            422, "invalid_delimiter", "delimiter must be one ASCII character, and neither a quote nor a line end."
        )
    body = uploads.pieces(request)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > told.max_upload_bytes:
        raise _too_large(told.max_upload_bytes, int(length))
    judged = Judged(body, declared, delimiter, header)
    job_id = uuid7()
    try:
        stored = await spool.store(str(job_id), judged.pieces(), limit=told.max_upload_bytes)
    except TooLarge as error:
        raise _too_large(error.limit, None) from error
    except ClientException as error:
        log.info("upload cut off", dataset=dataset)
        raise Problem(400, "upload_cut_off", "The upload ended before the file did.") from error
    metrics.UPLOAD_BYTES.labels(dataset).inc(stored.bytes_total)
    command = PlanImport(
        dataset=dataset,
        job_id=job_id,
        file=stored.file,
        sha256=stored.sha256,
        bytes_total=stored.bytes_total,
        dialect=judged.dialect,
    )
    job, replayed = await _accept(pool, spool, command, request.user.id, idempotency_key, _fingerprint(command, mode))
    relay.wake()
    seconds = preferences.wait_seconds(prefer)
    job = await preferences.wait(pool, stopping, job.id, seconds) if seconds is not None else job
    return await to_answer(pool, job, preferences.applied(seconds, job) | replayed)


class Judged:
    """An upload whose beginning is held against the dataset before the rest is read."""

    dialect: Dialect

    def __init__(
        self, body: AsyncIterator[bytes], dataset: Dataset, delimiter: str, header: Literal["auto", "present", "absent"]
    ) -> None:
        self._body = body
        self._dataset = dataset
        self._delimiter = delimiter
        self._header: Literal["auto", "present", "absent"] = header

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of the body. Raises Problem 422 as soon as the first lines show that it does not fit."""
        start = bytearray()
        async for piece in self._body:
            start += piece
            if len(start) >= PEEK_BYTES:
                break
        self._judge(bytes(start[:PEEK_BYTES]))
        yield bytes(start)
        async for piece in self._body:
            yield piece

    def _judge(self, start: bytes) -> None:
        try:
            self.dialect = csv_header.read(start, self._dataset, delimiter=self._delimiter, header=self._header)
        except csv_header.HeaderMismatch as error:
            errors = [Detail(code=e.code, column=e.column, detail=e.detail, line=1) for e in error.errors]
            raise Problem(422, error.code, error.detail, hint=error.hint, errors=errors) from error


async def to_answer(pool: Pool, job: Job, headers: dict[str, str]) -> Answer[JobBody]:
    """202 for a job under way, 200 for one that has ended; where to look, and when to look again."""
    async with pool.acquire() as db:
        body = to_body(job, await queries.select_now(db))
    headers = {**headers, "Location": f"/v1/jobs/{job.id}"}
    if job.ended:
        return Answer(body, status_code=200, headers=headers)
    return Answer(body, status_code=202, headers={**headers, "Retry-After": str(RETRY_SECONDS)})


async def _accept(
    pool: Pool, spool: Spool, command: PlanImport, api_key: str, idempotency_key: str | None, fingerprint: str
) -> tuple[Job, dict[str, str]]:
    """The job, its first event and its command in one transaction; or the job that was asked for before."""
    async with transaction(pool) as db:
        job = await queries.insert_import(
            db, command, api_key=api_key, idempotency_key=idempotency_key, fingerprint=fingerprint
        )
        if job is not None:
            created = await announce_created(db, job, await queries.select_now(db))
            await outbox.insert_messages(db, [command, created])
            return job, {}
        asked = await queries.select_asked(db, api_key, idempotency_key or "")
    spool.delete(command.file)
    if asked is None or asked[1] != fingerprint:
        raise Problem(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key came with another file or other parameters before.",
            hint="Use a new key for a new request; a key binds for 24 hours.",
        )
    return asked[0], {"Idempotency-Replayed": "true"}


def _fingerprint(command: PlanImport, mode: str) -> str:
    """Of what is asked, not of how it was sent: a form and a raw body with the same file are the same."""
    asked = f"{command.dataset}/{mode}/{command.dialect}/{command.sha256}"
    return hashlib.sha256(asked.encode()).hexdigest()


def _too_large(limit: int, received: int | None) -> Problem:
    came = f"The file has {received} bytes, and" if received else "The file is larger than allowed:"
    return Problem(413, "too_large", f"{came} {limit} bytes are the most.", limit_bytes=limit)


def uuid7() -> UUID:
    """Sortable by time (RFC 9562). The host's clock is good enough: only the order of a list follows it."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & ((1 << 62) - 1))
