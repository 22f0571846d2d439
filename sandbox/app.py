"""The simulated APIs, and routes that control them: `/world`, `/faults`, `/reset`, `/requests`."""

import base64
from typing import Any

from litestar import Litestar, MediaType, Request, Response, delete, get, post, put
from litestar.exceptions import NotAuthorizedException, NotFoundException

from sandbox import dictionary
from sandbox.faults import Fault, Faults, inject_faults
from sandbox.world import Row, World

LARGEST_PAGE = 100
ApiRequest = Request[Any, Any, Any]


def build(crm_token: str) -> Litestar:
    """Builds the application. Only the CRM requires a bearer token."""
    app = Litestar(
        [
            health, list_customers, read_customer, list_contacts, read_paragraph, read_entry, list_items,
            put_row, delete_row, add_fault, clear_faults, reset, list_requests,
        ],
        middleware=[inject_faults],
        openapi_config=None,
        logging_config=None,
    )  # fmt: skip
    app.state.world, app.state.faults, app.state.crm_token = World(), Faults(), crm_token
    return app


@get(["/health/ready", "/api/health"], opt={"control": True})
async def health() -> dict[str, str]:
    """Health of the sandbox, and of the customers API."""
    return {"status": "healthy"}


@get("/api/customers")
async def list_customers(request: ApiRequest, page: int = 1, limit: int = 10) -> dict[str, Any]:
    """Customers by page number, from 1; `total` counts all."""
    world: World = request.app.state.world
    rows = world.rows("customers")
    return {"data": _page(request, rows, (page - 1) * limit, limit), "total": len(rows), "page": page, "limit": limit}


@get("/api/customers/{key:str}")
async def read_customer(request: ApiRequest, key: str) -> Row:
    """A customer, or 404."""
    return _row(request, "customers", key)


@get("/contacts")
async def list_contacts(
    request: ApiRequest, updated_since: str = "", after: str = "", limit: int = 20
) -> dict[str, Any]:
    """Contacts changed at `updated_since` or later, in order of change, after the cursor `after`."""
    if request.headers.get("authorization") != f"Bearer {request.app.state.crm_token}":
        raise NotAuthorizedException("The CRM requires a bearer token.")
    fault: Fault = request.state.fault
    rows = [row for row in request.app.state.world.rows("contacts") if row["updated_at"] >= updated_since]
    start = _number(after)
    end = start + limit
    more = fault.endless or end < len(rows)
    next_cursor = after or _cursor(limit) if fault.repeat_cursor else _cursor(end) if more else None
    return {"contacts": _page(request, rows, start, limit), "cursors": {"next": next_cursor}, "has_more": more}


@get("/paragraph", media_type=MediaType.TEXT)
async def read_paragraph(request: ApiRequest) -> str:
    """About fifty random sentences."""
    world: World = request.app.state.world
    return world.next_paragraph()


@get("/entries/{word:str}")
async def read_entry(word: str) -> list[dict[str, object]]:
    """Definition and pronunciation of a word, or 404."""
    entry = dictionary.find_entry(word)
    if entry is None:
        raise NotFoundException("No definitions found.")
    return [entry]


@get("/items")
async def list_items(request: ApiRequest, offset: int = 0, limit: int = 50) -> Response[dict[str, Any]]:
    """Items from `offset`, at most a hundred; the header `Link` has the next page."""
    rows = request.app.state.world.rows("items")
    size = min(limit, LARGEST_PAGE)
    end = offset + size
    links = f'<{request.url.path}?offset={end}&limit={limit}>; rel="next"' if end < len(rows) else ""
    content = {"items": _page(request, rows, offset, size), "total": len(rows)}
    return Response(content, headers={"Link": links} if links else {})


@put("/world/{table:str}/{key:str}", opt={"control": True})
async def put_row(request: ApiRequest, table: str, key: str, data: Row) -> Row:
    """Creates or changes a row of `customers`, `contacts` or `items`."""
    world: World = request.app.state.world
    return world.put(table, key, data)


@delete("/world/{table:str}/{key:str}", opt={"control": True})
async def delete_row(request: ApiRequest, table: str, key: str) -> None:
    """Deletes a row without a trace."""
    _row(request, table, key)
    del request.app.state.world.tables[table][key]


@put("/faults", opt={"control": True})
async def add_fault(request: ApiRequest, data: Fault) -> None:
    """Adds a fault after those that are already set."""
    request.app.state.faults.add(data)


@delete("/faults", opt={"control": True})
async def clear_faults(request: ApiRequest) -> None:
    """Removes all faults."""
    request.app.state.faults.clear()


@post("/reset", opt={"control": True})
async def reset(request: ApiRequest) -> None:
    """Restores the initial data and removes all faults."""
    request.app.state.world.reset()
    request.app.state.faults.clear()


@get("/requests", opt={"control": True})
async def list_requests(request: ApiRequest) -> list[str]:
    """The last thousand requests to the APIs, for example `GET /items?offset=50`."""
    return list(request.app.state.world.requests)


def _row(request: ApiRequest, table: str, key: str) -> Row:
    row: Row | None = request.app.state.world.tables.get(table, {}).get(key)
    if row is None:
        raise NotFoundException(f"There is no {key} in {table}.")
    return row


def _page(request: ApiRequest, rows: list[Row], start: int, size: int) -> list[Row] | None:
    """Returns a page of rows, changed by the fault of the request."""
    fault: Fault = request.state.fault
    if fault.null_page:
        return None
    if fault.endless and start >= len(rows):
        start = max(0, (len(rows) - 1) // size * size)
    return rows[max(0, start) : max(0, start) + size - fault.short]


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"after/{number}".encode()).decode()


def _number(cursor: str) -> int:
    return int(base64.urlsafe_b64decode(cursor).decode().partition("/")[2]) if cursor else 0
