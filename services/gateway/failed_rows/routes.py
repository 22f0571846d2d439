"""GET /v1/jobs/{job}/failed-rows, as a list or as a file to be mended; POST …/discard: giving them up."""

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
from services.gateway.failed_rows.csv_file import Sheet
from services.gateway.http.polling import poll
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer, negotiate
from services.gateway.jobs import failed_rows
from services.gateway.jobs.failed_rows import Chosen, Count, FailedRow, State
from services.gateway.jobs.queries import find_job
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DiscardRows
from shared.contracts.parts import Dialect
from shared.db import Pool, transaction

FORMS = {"application/json": "json", "text/csv": "csv"}
AT_ONCE = 250
"""Rows of a download that are in memory: each may have 64 KiB."""
DISCARD_SECONDS = 10.0


class FailedRows(msgspec.Struct, frozen=True):
    """In the order of the input; `next` is the `after` of the next page, or null at the end.

    Of the job as a whole, whatever the filter: `total` rows failed, `counts` says how, and `kept` of them are kept.
    """

    data: list[FailedRow]
    next: int | None
    total: int
    kept: int
    counts: list[Count]


class Discarded(msgspec.Struct, frozen=True):
    """How many rows are discarded now that were open before; null if that is not yet known."""

    discarded: int | None


@get(
    "/v1/jobs/{job:str}/failed-rows",
    tags=["jobs"],
    summary="The rows that a job refused, with line and reasons",
    description="As CSV all of them: the original columns, then `_line` and `_errors`, to be mended and imported again."
    " Cells that nobody touches are read as they were. With `spreadsheet_safe=true`, text that a spreadsheet would run"
    " as a formula gets a `'` before it: such a file is to be read, not to be imported.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=FailedRows, description="JSON or CSV")},
)
async def list_failed_rows(
    pool: Pool,
    catalog: Catalog,
    job: str,
    code: Annotated[
        str | None, Parameter(pattern=failed_rows.SAYABLE, description="Only rows with an error of this code")
    ] = None,
    column: Annotated[
        str | None, Parameter(pattern=failed_rows.SAYABLE, description="Only rows with an error in this column")
    ] = None,
    in_state: Annotated[State | None, Parameter(query="state", description="Only rows that are in this state")] = None,
    limit: Annotated[int | None, Parameter(ge=1, le=1000, description="100 as JSON, no limit as CSV")] = None,
    after: Annotated[int, Parameter(ge=0, le=(1 << 63) - 1, description="The `next` of the page before")] = 0,
    form: Annotated[Literal["json", "csv"] | None, Parameter(query="format")] = None,
    spreadsheet_safe: Annotated[bool, Parameter(description="Of CSV: no cell is a formula")] = False,  # noqa: FBT002
    accept: Annotated[str | None, Parameter(header="Accept")] = None,
) -> Response[Any]:
    """JSON or CSV, by `format` or `Accept`. Of a job that has not begun there are none."""
    chosen = Chosen(code, column)
    async with pool.acquire() as db:
        about = await find_job(db, job)
        brought = await failed_rows.select_input(db, about.id)
        if (form or negotiate(accept, FORMS)) == "json":
            most = limit or 100
            found = await failed_rows.select_failed_rows(
                db, about.id, after=after, limit=most + 1, chosen=chosen, state=in_state
            )
            total, counts = await failed_rows.select_counts(db, about.id)
            page = found[:most]
            following = page[-1].id if len(found) > most else None
            return Answer(FailedRows(page, following, total, brought.failed_kept if brought else 0, counts))
    declared = await catalog.dataset(pool, about.dataset)
    sheet = Sheet(declared, brought.dialect if brought else _usual(declared), defuse=spreadsheet_safe)
    return Stream(
        _pieces(pool, about.id, sheet, chosen, in_state, after, limit),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="failed-rows-{about.id}.csv"'},
    )


@post(
    "/v1/jobs/{job:str}/failed-rows/discard",
    tags=["jobs"],
    summary="Give failed rows up",
    description="Marks the open failed rows as discarded, all of them or those with an error of this code in this"
    " column. They are kept, and the job's outcome stays what it is. 202 if it takes longer than ten seconds: it will"
    " be done, and to ask again does no harm.",
    opt={"scope": "write"},
    status_code=200,
    responses={
        **responses(400, 404, 422),
        202: ResponseSpec(data_container=Discarded, description="It will be done"),
    },
)
async def discard_failed_rows(
    request: Request[Any, Any, Any],
    pool: Pool,
    relay: Relay,
    stopping: asyncio.Event,
    job: str,
    data: Chosen | None = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[Discarded]:
    """Done by the ingestor, whose rows they are. With the same key, the same request tells the same number."""
    chosen = data or failed_rows.ALL
    async with transaction(pool) as db:
        about = await find_job(db, job)
        command = DiscardRows(
            dataset=about.dataset,
            request_id=uuid5(about.id, f"{request.user.id}/{idempotency_key}/{chosen}") if idempotency_key else uuid4(),
            failed_in=about.id,
            code=chosen.code,
            column=chosen.column,
        )
        await outbox.insert_messages(db, [command])
    relay.wake()

    async def look() -> int | None:
        async with pool.acquire() as db:
            return await failed_rows.count_discarded(db, command.id, command.request_id)

    discarded = await poll(look, lambda count: count is not None, seconds=DISCARD_SECONDS, stopping=stopping)
    return Answer(Discarded(discarded), status_code=202 if discarded is None else 200)


def _usual(dataset: Dataset) -> Dialect:
    return Dialect(columns=tuple(field.name for field in dataset.input_fields), header=True)


async def _pieces(
    pool: Pool, job_id: UUID, sheet: Sheet, chosen: Chosen, state: State | None, after: int, limit: int | None
) -> AsyncIterator[bytes]:
    """Holds a connection only while it reads, not while the client does."""
    yield sheet.header()
    while limit is None or limit > 0:
        most = min(AT_ONCE, limit or AT_ONCE)
        async with pool.acquire() as db:
            rows = await failed_rows.select_failed_rows(db, job_id, after=after, limit=most, chosen=chosen, state=state)
        if rows:
            after = rows[-1].id
            limit = limit and limit - len(rows)
            yield sheet.lines(rows)
        if len(rows) < most:
            return
