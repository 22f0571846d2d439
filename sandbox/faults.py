"""Faults that tests inject: errors, delays, redirects, invalid or endless responses."""

import asyncio
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

OVERSIZE_CHUNK, OVERSIZE_CHUNKS = b" " * (1 << 20), 4096
GARBAGE = b'{"data": [{"id": 1, "name": "cut of'


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault for requests whose path starts with `path`: for the next `times` requests, or for all.

    `status` (with `retry_after`, seconds or a date), `redirect`, `garbage` and `oversize` (4 GiB of spaces) replace the
    response; `delay` waits this many seconds first. The others change it: `endless` repeats the last page for ever,
    `repeat_cursor` returns the cursor of the request, `null_page` sends null instead of rows, `short` omits one row of
    each page.
    """

    path: str = "/"
    times: int | None = None
    status: int | None = None
    retry_after: int | str | None = None
    delay: float = 0
    redirect: str | None = None
    garbage: bool = False
    oversize: bool = False
    endless: bool = False
    repeat_cursor: bool = False
    null_page: bool = False
    short: bool = False


class Faults:
    """The active faults; a request gets the first one that matches its path."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Appends a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Removes all faults."""
        self._faults.clear()

    def take(self, path: str) -> Fault:
        """Returns the fault for a request, and counts it; an empty one if none matches."""
        for fault in self._faults:
            if path.startswith(fault.path) and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return Fault()


def inject_faults(app: ASGIApp) -> ASGIApp:
    """Middleware for the API routes, which read the fault from `request.state.fault`."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["route_handler"].opt.get("control"):
            await app(scope, receive, send)
            return
        state = scope["litestar_app"].state
        fault = state.faults.take(scope["path"])
        scope["state"]["fault"] = fault
        with state.world.record(_request_line(scope)):
            await asyncio.sleep(fault.delay)
            if fault.status or fault.redirect or fault.garbage or fault.oversize:
                await _send_fault(fault, send)
            else:
                await app(scope, receive, send)

    return handle


def _request_line(scope: HTTPScope) -> str:
    query = scope["query_string"].decode()
    return f"{scope['method']} {scope['path']}" + (f"?{query}" if query else "")


async def _send_fault(fault: Fault, send: Send) -> None:
    status = fault.status or (302 if fault.redirect else 200)
    headers = [(b"content-type", b"application/json")]
    if fault.redirect:
        headers.append((b"location", fault.redirect.encode()))
    if fault.retry_after is not None:
        headers.append((b"retry-after", str(fault.retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    chunks: list[Any] = [OVERSIZE_CHUNK] * OVERSIZE_CHUNKS if fault.oversize else []
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    body = GARBAGE if fault.garbage else b'{"error": "injected"}'
    await send({"type": "http.response.body", "body": body, "more_body": False})
