"""GET /v1/datasets/{dataset}/rows and /rows/{key}: reading what was loaded."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from services.gateway.catalog import Catalog
from services.gateway.http import auth, problems
from services.gateway.http.formats import Csv, Ndjson
from services.gateway.http.openapi import Asking
from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer, negotiate
from services.gateway.http.row_query import OPERATORS, Question, to_question
from services.gateway.rows import queries, select_row
from services.gateway.rows.export import Downloads
from shared.db import Pool

DEEPEST = 10_000_000
USUAL_LIMIT = 10
FORMS = {
    "application/json": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
PAGING = ("page", "cursor", "count")
Counting = Literal["exact", "estimated", "none"]


class Rows(msgspec.Struct, frozen=True):
    """A page of rows; `next` is the cursor of the next one, or null at the end. `page` is null behind a cursor.

    `total` counts all rows that are asked for, as `count` says.
    """

    data: list[dict[str, Any]]
    total: int | None
    page: int | None
    limit: int
    next: str | None


@get(
    "/v1/datasets/{dataset:str}/rows",
    tags=["rows"],
    summary="Rows of a dataset: those that are asked for, page by page or as a file",
    description=f"{OPERATORS}\n\n`order=price.desc,name.asc.nullsfirst`; ties are in the order of the key, and so is"
    " everything if nothing is said. A `cursor` goes on where the page it came with has ended, whatever was loaded"
    " meanwhile, and is as fast on the last page as on the first.\n\nAs CSV or NDJSON, all rows that are asked for come"
    " as one moment had them; without `order` as they lie.",
    opt={"scope": "read", "any_query": True},
    operation_class=Asking,
    responses={**responses(404, 422, 503), 200: ResponseSpec(data_container=Rows, description="JSON, CSV or NDJSON")},
)
async def list_rows(
    request: Request[Any, Any, Any],
    pool: Pool,
    catalog: Catalog,
    downloads: Downloads,
    dataset: str,
    page: Annotated[int | None, Parameter(ge=1, le=DEEPEST, description="1, unless there is a cursor")] = None,
    limit: Annotated[int | None, Parameter(ge=1, le=1000, description="10 as JSON, no limit as a file")] = None,
    cursor: Annotated[str | None, Parameter(description="The `next` of the page before")] = None,
    order: Annotated[str | None, Parameter(description="Fields, each with .asc .desc .nullsfirst .nullslast")] = None,
    select: Annotated[str | None, Parameter(description="Only these fields, separated by commas")] = None,
    count: Annotated[Counting | None, Parameter(description="How `total` is found; exact, unless it is said")] = None,
    form: Annotated[Literal["json", "csv", "ndjson"] | None, Parameter(query="format")] = None,
    spreadsheet_safe: Annotated[bool | None, Parameter(description="Of CSV: no cell is a formula")] = None,
    accept: Annotated[str | None, Parameter(header="Accept")] = None,
) -> Response[Any]:
    """By `format` or `Accept`. Behind the last page there is an empty one."""
    declared = await catalog.dataset(pool, dataset)
    given = request.query_params.multi_items()
    question = to_question(declared, given, auth.parameters(request), order=order, select=select)
    wanted = form or negotiate(accept, FORMS)
    told = {"page": page, "cursor": cursor, "count": count, "spreadsheet_safe": spreadsheet_safe}
    _refuse_unfit(wanted, {name for name, value in told.items() if value is not None})
    try:
        if wanted != "json":
            columns = question.columns
            kind = Csv(columns, defuse=bool(spreadsheet_safe)) if wanted == "csv" else Ndjson(columns)
            pieces = await downloads.begin(pool, question, kind, ordered=order is not None, limit=limit)
            disposition = f'attachment; filename="{dataset}.{kind.ending}"'
            return Stream(pieces, media_type=kind.media_type, headers={"Content-Disposition": disposition})
        return Answer(await _page(pool, question, page, cursor, limit or USUAL_LIMIT, count or "exact"))
    except queries.TooSlow as error:
        raise Problem(
            422,
            "too_slow",
            f"These rows can't be found within {queries.MOST_SECONDS:.0f} seconds.",
            hint="Narrow it: filter by the key or an indexed field, order by nothing else, ask for count=none.",
        ) from error


@get(
    "/v1/datasets/{dataset:str}/rows/{key:str}",
    tags=["rows"],
    summary="One row by its key",
    description="The parts of a compound key are separated by commas, in the order of `primary_key`.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_row(pool: Pool, catalog: Catalog, dataset: str, key: str) -> Answer[dict[str, Any]]:
    """404 also for text that can't be a key, with the reason."""
    declared = await catalog.dataset(pool, dataset)
    try:
        async with pool.acquire() as db:
            row = await select_row.select_row(db, declared, key)
    except select_row.BadKey as error:
        raise problems.not_found(f"row of {dataset}", key, hint=f"{error}.") from error
    if row is None:
        raise problems.not_found(f"row of {dataset}", key)
    return Answer(row)


async def _page(
    pool: Pool, question: Question, page: int | None, cursor: str | None, limit: int, count: Counting
) -> Rows:
    """Exact numbers are of the moment that the rows are of."""
    after = None if cursor is None else question.after(cursor)
    number = (page or 1) if cursor is None else None
    offset = ((number or 1) - 1) * limit
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        found = await queries.select_page(db, question, limit=limit, offset=offset, after=after)
        total = None
        if count == "exact":
            total = await queries.count(db, question)
        elif count == "estimated":
            total = max(await queries.estimate(db, question), offset + len(found.data))
    return Rows(found.data, total, number, limit, None if found.last is None else question.cursor(found.last))


def _refuse_unfit(form: str, told: set[str]) -> None:
    """Raises Problem 422 for parameters that would be ignored, or contradict each other."""
    unfit = {"json": {"spreadsheet_safe"}, "csv": set(PAGING), "ndjson": {*PAGING, "spreadsheet_safe"}}[form] & told
    if unfit:
        raise _refusal(
            "unfit_parameter", sorted(unfit), f"this does not go with {form}: leave it out, or ask otherwise"
        )
    if {"page", "cursor"} <= told:
        raise _refusal("unfit_parameter", ["cursor", "page"], "a cursor tells where its page begins: leave page out")


def _refusal(code: str, names: list[str], what: str) -> Problem:
    errors = [Detail(code=code, column=name, detail=f"{name}: {what}.") for name in names]
    return Problem(422, code, f"{', '.join(names)}: {what}.", hint=problems.PARAMETERS, errors=errors)
