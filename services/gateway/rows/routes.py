"""GET /v1/datasets/{dataset}/rows and /rows/{key}: reads rows."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from services.gateway.catalog import Catalog
from services.gateway.http import auth, problems
from services.gateway.http.formats import Csv, Ndjson, RowFormat
from services.gateway.http.openapi import FieldQuery
from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer, negotiate
from services.gateway.http.row_query import OPERATORS, RowQuery, parse_row_query
from services.gateway.rows import queries
from services.gateway.rows.export import Downloads
from shared.db import Pool

MAX_PAGE = 10_000_000
DEFAULT_LIMIT = 10
FORMATS = {
    "application/json": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
PAGING = ("page", "cursor", "count")
CountMode = Literal["exact", "estimated", "none"]


class Rows(msgspec.Struct, frozen=True):
    """A page of rows; `next` is the cursor of the next page, or null at the end. `page` is null after a `cursor`.

    `total` is the number of all matching rows, as `count` requests it.
    """

    data: list[dict[str, Any]]
    total: int | None
    page: int | None
    limit: int
    next: str | None


@get(
    "/v1/datasets/{dataset:str}/rows",
    tags=["rows"],
    summary="List rows of a dataset",
    description=f"{OPERATORS}\n\nSort with `order=price.desc,name.asc.nullsfirst`. Ties, and rows without an `order`,"
    " are sorted by the primary key. A `cursor` continues after the last row of its page, even if rows were loaded in"
    " the meantime, and the last page is as fast as the first.\n\nCSV and NDJSON responses stream all matching rows of"
    " one snapshot; without `order` they are not sorted.",
    opt={"scope": "read", "any_query": True},
    operation_class=FieldQuery,
    responses={**responses(404, 422, 503), 200: ResponseSpec(data_container=Rows, description="JSON, CSV or NDJSON")},
)
async def list_rows(
    request: Request[Any, Any, Any],
    pool: Pool,
    catalog: Catalog,
    downloads: Downloads,
    dataset: str,
    page: Annotated[
        int | None, Parameter(ge=1, le=MAX_PAGE, description="Page number; 1 by default, not used with `cursor`")
    ] = None,
    limit: Annotated[
        int | None, Parameter(ge=1, le=1000, description="10 by default, no limit as CSV or NDJSON")
    ] = None,
    cursor: Annotated[str | None, Parameter(description="The `next` of the previous page")] = None,
    order: Annotated[str | None, Parameter(description="Fields, each with .asc .desc .nullsfirst .nullslast")] = None,
    select: Annotated[str | None, Parameter(description="Fields to return, separated by commas")] = None,
    count: Annotated[CountMode | None, Parameter(description="How to compute `total`; exact by default")] = None,
    form: Annotated[Literal["json", "csv", "ndjson"] | None, Parameter(query="format")] = None,
    spreadsheet_safe: Annotated[bool | None, Parameter(description="CSV only: escape formulas")] = None,
    accept: Annotated[str | None, Parameter(header="Accept")] = None,
) -> Response[Any]:
    """Returns a page or a file, by `format` or `Accept`. Pages after the last one are empty."""
    declared = await catalog.dataset(pool, dataset)
    parameters = request.query_params.multi_items()
    query = parse_row_query(declared, parameters, auth.query_parameters(request), order=order, select=select)
    wanted = form or negotiate(accept, FORMATS)
    options = {"page": page, "cursor": cursor, "count": count, "spreadsheet_safe": spreadsheet_safe}
    _check_options(wanted, {name for name, value in options.items() if value is not None})
    try:
        if wanted != "json":
            row_format = _row_format(wanted, query, spreadsheet_safe=bool(spreadsheet_safe))
            pieces = await downloads.start(pool, query, row_format, ordered=order is not None, limit=limit)
            disposition = f'attachment; filename="{dataset}.{row_format.extension}"'
            return Stream(pieces, media_type=row_format.media_type, headers={"Content-Disposition": disposition})
        return Answer(await _page(pool, query, page, cursor, limit or DEFAULT_LIMIT, count or "exact"))
    except queries.QueryTimeout as error:
        raise Problem(
            422,
            "too_slow",
            f"The query took longer than {queries.TIMEOUT_SECONDS:.0f} seconds.",
            hint="Filter or order by the key or an indexed field only, and use count=none.",
        ) from error


@get(
    "/v1/datasets/{dataset:str}/rows/{key:str}",
    tags=["rows"],
    summary="Get a row by its primary key",
    description="Separate the parts of a compound key by commas, in the order of `primary_key`.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_row(pool: Pool, catalog: Catalog, dataset: str, key: str) -> Answer[dict[str, Any]]:
    """Returns the row. Text that can't be a key is a 404 too, and the hint says why."""
    declared = await catalog.dataset(pool, dataset)
    try:
        async with pool.acquire() as db:
            row = await queries.select_row(db, declared, key)
    except queries.InvalidKey as error:
        raise problems.not_found(f"row of {dataset}", key, hint=f"{error}.") from error
    if row is None:
        raise problems.not_found(f"row of {dataset}", key)
    return Answer(row)


async def _page(
    pool: Pool, query: RowQuery, page: int | None, cursor: str | None, limit: int, count: CountMode
) -> Rows:
    """Reads rows and total in one snapshot."""
    after = None if cursor is None else query.read_cursor(cursor)
    number = (page or 1) if cursor is None else None
    offset = ((number or 1) - 1) * limit
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        found = await queries.select_page(db, query, limit=limit, offset=offset, after=after)
        total = None
        if count == "exact":
            total = await queries.count(db, query)
        elif count == "estimated":
            total = max(await queries.estimate(db, query), offset + len(found.data))
    return Rows(found.data, total, number, limit, None if found.last is None else query.write_cursor(found.last))


def _row_format(name: str, query: RowQuery, *, spreadsheet_safe: bool) -> RowFormat:
    return Csv(query.columns, spreadsheet_safe=spreadsheet_safe) if name == "csv" else Ndjson(query.columns)


def _check_options(form: str, options: set[str]) -> None:
    """Raises Problem 422 for options that the format would ignore or that contradict each other."""
    unfit = {"json": {"spreadsheet_safe"}, "csv": set(PAGING), "ndjson": {*PAGING, "spreadsheet_safe"}}[form] & options
    if unfit:
        raise _unfit_parameters(sorted(unfit), f"not supported with format {form}")
    if {"page", "cursor"} <= options:
        raise _unfit_parameters(["cursor", "page"], "use one of them, not both")


def _unfit_parameters(names: list[str], reason: str) -> Problem:
    code = "unfit_parameter"
    errors = [Detail(code=code, column=name, detail=f"{name}: {reason}.") for name in names]
    return Problem(422, code, f"{', '.join(names)}: {reason}.", hint=problems.PARAMETERS_HINT, errors=errors)
