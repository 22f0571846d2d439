"""The APIs and the strings that move them. Everything under `/world` is for who directs the play."""

import base64
from typing import Any

from litestar import Litestar, MediaType, Request, Response, delete, get, post, put
from litestar.exceptions import NotAuthorizedException, NotFoundException

from sandbox import dictionary
from sandbox.misbehaviour import Habit, Habits, misbehaving
from sandbox.world import Row, World

LARGEST_PAGE = 100
Asked = Request[Any, Any, Any]


def build(crm_token: str) -> Litestar:
    """All of it; the CRM alone wants a bearer token."""
    app = Litestar(
        [
            health, list_customers, read_customer, list_contacts, tell_paragraph, read_entry, list_items,
            put_row, delete_row, misbehave, behave, reset, list_asked,
        ],
        middleware=[misbehaving],
        openapi_config=None,
        logging_config=None,
    )  # fmt: skip
    app.state.world, app.state.habits, app.state.crm_token = World(), Habits(), crm_token
    return app


@get(["/health/ready", "/api/health"], opt={"control": True})
async def health() -> dict[str, str]:
    """Of the sandbox, and of the customers' API."""
    return {"status": "healthy"}


@get("/api/customers")
async def list_customers(request: Asked, page: int = 1, limit: int = 10) -> dict[str, Any]:
    """Pages from 1. `total` counts the customers."""
    world: World = request.app.state.world
    rows = world.rows("customers")
    return {"data": _bent(request, rows, (page - 1) * limit, limit), "total": len(rows), "page": page, "limit": limit}


@get("/api/customers/{key:str}")
async def read_customer(request: Asked, key: str) -> Row:
    """One, or 404."""
    return _row(request, "customers", key)


@get("/contacts")
async def list_contacts(request: Asked, updated_since: str = "", after: str = "", limit: int = 20) -> dict[str, Any]:
    """Those changed at `updated_since` or later, in the order of their changes, from the cursor `after` on."""
    if request.headers.get("authorization") != f"Bearer {request.app.state.crm_token}":
        raise NotAuthorizedException("The CRM wants a bearer token.")
    habit: Habit = request.state.habit
    rows = [row for row in request.app.state.world.rows("contacts") if row["updated_at"] >= updated_since]
    start = _number(after)
    end = start + limit
    more = habit.endless or end < len(rows)
    following = after or _cursor(limit) if habit.repeat_cursor else _cursor(end) if more else None
    return {"contacts": _bent(request, rows, start, limit), "cursors": {"next": following}, "has_more": more}


@get("/paragraph", media_type=MediaType.TEXT)
async def tell_paragraph(request: Asked) -> str:
    """About fifty sentences, other ones each time."""
    world: World = request.app.state.world
    return world.tell()


@get("/entries/{word:str}")
async def read_entry(word: str) -> list[dict[str, object]]:
    """What a word means and how it sounds, or 404."""
    found = dictionary.entry(word)
    if found is None:
        raise NotFoundException("No definitions found.")
    return [found]


@get("/items")
async def list_items(request: Asked, offset: int = 0, limit: int = 50) -> Response[dict[str, Any]]:
    """From `offset` on, a hundred at most; the header `Link` leads on as well."""
    rows = request.app.state.world.rows("items")
    size = min(limit, LARGEST_PAGE)
    end = offset + size
    links = f'<{request.url.path}?offset={end}&limit={limit}>; rel="next"' if end < len(rows) else ""
    content = {"items": _bent(request, rows, offset, size), "total": len(rows)}
    return Response(content, headers={"Link": links} if links else {})


@put("/world/{table:str}/{key:str}", opt={"control": True})
async def put_row(request: Asked, table: str, key: str, data: Row) -> Row:
    """Changes a row of `customers`, `contacts` or `items`, or makes it."""
    world: World = request.app.state.world
    return world.put(table, key, data)


@delete("/world/{table:str}/{key:str}", opt={"control": True})
async def delete_row(request: Asked, table: str, key: str) -> None:
    """It is gone, and nobody says that it was there."""
    _row(request, table, key)
    del request.app.state.world.tables[table][key]


@put("/misbehave", opt={"control": True})
async def misbehave(request: Asked, data: Habit) -> None:
    """From now on, after the other habits that were asked for."""
    request.app.state.habits.take_up(data)


@delete("/misbehave", opt={"control": True})
async def behave(request: Asked) -> None:
    """From now on."""
    request.app.state.habits.drop()


@post("/reset", opt={"control": True})
async def reset(request: Asked) -> None:
    """The first day, and nobody misbehaves."""
    request.app.state.world.reset()
    request.app.state.habits.drop()


@get("/asked", opt={"control": True})
async def list_asked(request: Asked) -> list[str]:
    """The last thousand requests to the APIs, like `GET /items?offset=50`."""
    return list(request.app.state.world.asked)


def _row(request: Asked, table: str, key: str) -> Row:
    row: Row | None = request.app.state.world.tables.get(table, {}).get(key)
    if row is None:
        raise NotFoundException(f"There is no {key} among the {table}.")
    return row


def _bent(request: Asked, rows: list[Row], start: int, size: int) -> list[Row] | None:
    """The rows from `start` on, as the habit has it."""
    habit: Habit = request.state.habit
    if habit.null_page:
        return None
    if habit.endless and start >= len(rows):
        start = max(0, (len(rows) - 1) // size * size)
    return rows[max(0, start) : max(0, start) + size - habit.short]


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"after/{number}".encode()).decode()


def _number(cursor: str) -> int:
    return int(base64.urlsafe_b64decode(cursor).decode().partition("/")[2]) if cursor else 0
