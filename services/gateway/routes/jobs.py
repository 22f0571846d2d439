"""GET /v1/jobs, /v1/jobs/{id} and /v1/jobs/{id}/failed-rows: the job and everything one wants to know of it."""

import asyncio
import csv
import io
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway import preferences, queries, rows
from services.gateway.answers import Answer, CsvAnswer, wants_csv
from services.gateway.job import JobBody, Status, to_body
from services.gateway.problems import not_found, responses, to_job_id
from services.gateway.routes.imports import RETRY_SECONDS
from shared.db import Pool


class Jobs(msgspec.Struct, frozen=True):
    """Newest first; `next` is the `before` of the next page, or null at the end."""

    data: list[JobBody]
    next: UUID | None


class FailedRows(msgspec.Struct, frozen=True):
    """In the order of the file; `next` is the `after` of the next page, or null at the end."""

    data: list[rows.FailedRow]
    next: int | None


@get("/v1/jobs", tags=["jobs"], summary="List jobs, newest first", opt={"scope": "read"}, responses=responses(422))
async def list_jobs(
    pool: Pool,
    dataset: str | None = None,
    status: Status | None = None,
    limit: Annotated[int, Parameter(ge=1, le=200)] = 20,
    before: Annotated[UUID | None, Parameter(description="The `next` of the page before")] = None,
) -> Answer[Jobs]:
    """Filtered by dataset and status."""
    async with pool.acquire() as db:
        found = await queries.select_jobs(db, dataset=dataset, status=status, limit=limit + 1, before=before)
        now = await queries.select_now(db)
    page = found[:limit]
    return Answer(Jobs([to_body(job, now) for job in page], page[-1].id if len(found) > limit else None))


@get(
    "/v1/jobs/{job:str}",
    tags=["jobs"],
    summary="One job: its state, progress and outcome",
    description="With `Prefer: wait=N` the answer comes when the job has ended, or after N seconds.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_job(
    pool: Pool,
    stopping: asyncio.Event,
    job: str,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N")] = None,
) -> Answer[JobBody]:
    """200 whatever the job has come to."""
    seconds = preferences.wait_seconds(prefer)
    found = await preferences.wait(pool, stopping, to_job_id(job), seconds)
    async with pool.acquire() as db:
        body = to_body(found, await queries.select_now(db))
    headers = preferences.applied(seconds, found)
    return Answer(body, headers=headers if found.ended else {**headers, "Retry-After": str(RETRY_SECONDS)})


@get(
    "/v1/jobs/{job:str}/failed-rows",
    tags=["jobs"],
    summary="The rows that a job refused, with line and reasons",
    description="As CSV: the original columns, then `_line` and `_errors`, so that it can be mended and sent again.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=FailedRows, description="JSON or CSV")},
)
async def list_failed_rows(
    pool: Pool,
    job: str,
    code: Annotated[str | None, Parameter(description="Only rows with an error of this code")] = None,
    column: Annotated[str | None, Parameter(description="Only rows with an error in this column")] = None,
    limit: Annotated[int | None, Parameter(ge=1, le=100_000, description="100 as JSON, 100000 as CSV")] = None,
    after: Annotated[int, Parameter(ge=0, description="The `next` of the page before")] = 0,
    form: Annotated[Literal["json", "csv"] | None, Parameter(query="format")] = None,
    accept: Annotated[str | None, Parameter(header="Accept")] = None,
) -> Response[Any]:
    """JSON or CSV, by `format` or `Accept`."""
    as_csv = wants_csv(accept, form)
    most = limit or (100_000 if as_csv else 100)
    job_id = to_job_id(job)
    async with pool.acquire() as db:
        command = await queries.select_command(db, job_id)
        if command is None:
            raise not_found("job", job)
        found = await rows.select_failed_rows(db, job_id, after=after, limit=most + 1, code=code, column=column)
    page = found[:most]
    following = page[-1].id if len(found) > most else None
    if not as_csv:
        return Answer(FailedRows(page, following))
    columns = command.dialect.columns
    headers = {"Link": f'</v1/jobs/{job}/failed-rows?format=csv&after={following}>; rel="next"'} if following else {}
    return CsvAnswer(
        f"failed-rows-{job}",
        [*columns, "_line", "_errors"],
        [_cells(row, len(columns), command.dialect.delimiter) for row in page],
        headers,
    )


def _cells(row: rows.FailedRow, columns: int, delimiter: str) -> list[Any]:
    """The row's own cells as far as they can be told apart, filled up to the columns that there are."""
    try:
        cells = next(csv.reader(io.StringIO(row.raw, newline=""), delimiter=delimiter), [])
    except csv.Error:
        cells = [row.raw]
    cells = [*cells[: columns - 1], delimiter.join(cells[columns - 1 :])] if len(cells) > columns else cells
    reasons = "; ".join(f"{e['column'] or 'row'}: {e['detail']}" for e in row.errors)
    return [*cells, *[""] * (columns - len(cells)), row.line, reasons]
