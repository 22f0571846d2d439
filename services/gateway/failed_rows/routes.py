"""GET /v1/jobs/{job}/failed-rows: lists failed rows, or exports them as CSV; POST …/discard: discards them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4, uuid5

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from services.gateway.catalog import Catalog
from services.gateway.failed_rows.csv_file import FailedRowsCsv
from services.gateway.http.parameters import IdempotencyKey
from services.gateway.http.polling import poll
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer, negotiate
from services.gateway.jobs.queries import find_job
from shared.bus import ledger, outbox
from shared.bus.relay import Relay
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DiscardRows
from shared.contracts.parts import Dialect
from shared.db import Pool, transaction
from shared.reads.ingestor import failed_rows, imports
from shared.reads.ingestor.failed_rows import ErrorCount, ErrorFilter, FailedRow, RowState

FORMATS = {"application/json": "json", "text/csv": "csv"}
BATCH_ROWS = 250
"""Rows of a download that are in memory at once; each has up to 64 KiB."""
DISCARD_SECONDS = 10.0


class FailedRows(msgspec.Struct, frozen=True):
    """Failed rows in the order of the input; `next` is the `after` of the next page, or null at the end.

    For the whole job, regardless of filters: `total` rows failed, `counts` groups their errors, `kept` rows are stored.
    """

    data: list[FailedRow]
    next: int | None
    total: int
    kept: int
    counts: list[ErrorCount]


class Discarded(msgspec.Struct, frozen=True):
    """The number of rows that this request discarded; null if the ingestor has not finished yet."""

    discarded: int | None


@get(
    "/v1/jobs/{job:str}/failed-rows",
    tags=["jobs"],
    summary="List failed rows of a job",
    description="Each row has its line number, its raw text and all its errors. The CSV file has the original columns,"
    " then `_line` and `_errors`: fix it and import it again. Cells that you do not change keep their values. With"
    " `spreadsheet_safe=true`, text that a spreadsheet would run as a formula is prefixed by `'`: open such a file, but"
    " do not import it.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=FailedRows, description="JSON or CSV")},
)
async def list_failed_rows(
    pool: Pool,
    catalog: Catalog,
    job: str,
    code: Annotated[
        str | None, Parameter(pattern=failed_rows.WITHOUT_NUL, description="Only rows with an error of this code")
    ] = None,
    column: Annotated[
        str | None, Parameter(pattern=failed_rows.WITHOUT_NUL, description="Only rows with an error in this column")
    ] = None,
    in_state: Annotated[RowState | None, Parameter(query="state", description="Only rows in this state")] = None,
    limit: Annotated[int | None, Parameter(ge=1, le=1000, description="100 by default, no limit as CSV")] = None,
    after: Annotated[int, Parameter(ge=0, le=(1 << 63) - 1, description="The `next` of the previous page")] = 0,
    form: Annotated[Literal["json", "csv"] | None, Parameter(query="format")] = None,
    spreadsheet_safe: Annotated[bool, Parameter(description="CSV only: escape formulas")] = False,  # noqa: FBT002
    accept: Annotated[str | None, Parameter(header="Accept")] = None,
) -> Response[Any]:
    """Returns JSON or CSV, by `format` or `Accept`. A job that has not started has no failed rows."""
    error_filter = ErrorFilter(code, column)
    async with pool.acquire() as db:
        found_job = await find_job(db, job)
        job_input = await imports.select_input(db, found_job.id)
        if (form or negotiate(accept, FORMATS)) == "json":
            page_rows = limit or 100
            found = await failed_rows.select_failed_rows(
                db, found_job.id, after=after, limit=page_rows + 1, error_filter=error_filter, state=in_state
            )
            total, counts = await failed_rows.select_counts(db, found_job.id)
            page = found[:page_rows]
            next_after = page[-1].id if len(found) > page_rows else None
            return Answer(FailedRows(page, next_after, total, job_input.failed_kept if job_input else 0, counts))
    declared = await catalog.dataset(pool, found_job.dataset)
    dialect = job_input.dialect if job_input else _default_dialect(declared)
    csv_file = FailedRowsCsv(declared, dialect, spreadsheet_safe=spreadsheet_safe)
    return Stream(
        _pieces(pool, found_job.id, csv_file, error_filter, in_state, after, limit),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="failed-rows-{found_job.id}.csv"'},
    )


@post(
    "/v1/jobs/{job:str}/failed-rows/discard",
    tags=["jobs"],
    summary="Discard failed rows",
    description="Marks open failed rows as discarded. `code` and `column` select the rows with such an error; the"
    " default is all rows. The rows stay stored, and the outcome of the job does not change. The response is 202 if"
    " this takes longer than ten seconds: the rows will be discarded, and the request can be repeated safely.",
    opt={"scope": "write"},
    status_code=200,
    responses={
        **responses(400, 404, 422),
        202: ResponseSpec(data_container=Discarded, description="Accepted, and not finished yet"),
    },
)
async def discard_failed_rows(
    request: Request[Any, Any, Any],
    pool: Pool,
    relay: Relay,
    stopping: asyncio.Event,
    job: str,
    data: ErrorFilter | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Answer[Discarded]:
    """Sends a command to the ingestor. A repeated request with the same key returns the same number."""
    error_filter = data or failed_rows.ALL
    async with transaction(pool) as db:
        found_job = await find_job(db, job)
        identity = f"{request.user.id}/{idempotency_key}/{error_filter.code}/{error_filter.column}"
        command = DiscardRows(
            dataset=found_job.dataset,
            request_id=uuid5(found_job.id, identity) if idempotency_key else uuid4(),
            failed_in=found_job.id,
            code=error_filter.code,
            column=error_filter.column,
        )
        await outbox.insert_messages(db, [command])
    relay.wake()

    async def look() -> int | None:
        async with pool.acquire() as db:
            if not await ledger.has_ended(db, "ingestor", command.id):
                return None
            return await failed_rows.count_discarded(db, command.request_id)

    discarded = await poll(look, lambda count: count is not None, seconds=DISCARD_SECONDS, stopping=stopping)
    return Answer(Discarded(discarded), status_code=202 if discarded is None else 200)


def _default_dialect(dataset: Dataset) -> Dialect:
    return Dialect(columns=tuple(field.name for field in dataset.input_fields), header=True)


async def _pieces(
    pool: Pool,
    job_id: UUID,
    csv_file: FailedRowsCsv,
    error_filter: ErrorFilter,
    state: RowState | None,
    after: int,
    limit: int | None,
) -> AsyncIterator[bytes]:
    """Yields the file. It holds a connection only while it reads from Postgres, not while the client reads."""
    yield csv_file.header()
    while limit is None or limit > 0:
        batch_rows = min(BATCH_ROWS, limit or BATCH_ROWS)
        async with pool.acquire() as db:
            rows = await failed_rows.select_failed_rows(
                db, job_id, after=after, limit=batch_rows, error_filter=error_filter, state=state
            )
        if rows:
            after = rows[-1].id
            limit = limit and limit - len(rows)
            yield csv_file.encode(rows)
        if len(rows) < batch_rows:
            return
