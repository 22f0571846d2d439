"""How the outside world behaves badly, on request: broken, slow, endless, lying."""

import asyncio
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

OVERSIZE_PIECE, OVERSIZE_PIECES = b" " * (1 << 20), 4096
GARBAGE = b'{"data": [{"id": 1, "name": "cut of'


class Habit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What happens to requests whose path begins with `path`: to the next `times`, or to all.

    `status` (with `retry_after` seconds or a date), `redirect`, `garbage` and `oversize` (4 GiB of spaces) answer in
    the place of the API; `delay` waits that many seconds first. The other ones bend what it answers: `endless` gives
    its last page again and again, `repeat_cursor` the cursor that it was given, `null_page` null in the place of the
    rows, `short` one row less on each page.
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


class Habits:
    """Of the whole sandbox: each request meets the first one that is meant for its path."""

    def __init__(self) -> None:
        self._habits: list[Habit] = []

    def take_up(self, habit: Habit) -> None:
        """Comes after those that are there."""
        self._habits.append(habit)

    def drop(self) -> None:
        """All is well again."""
        self._habits.clear()

    def meet(self, path: str) -> Habit:
        """The habit for one request; an empty one if there is none."""
        for habit in self._habits:
            if path.startswith(habit.path) and habit.times != 0:
                if habit.times is not None:
                    habit.times -= 1
                return habit
        return Habit()


def misbehaving(app: ASGIApp) -> ASGIApp:
    """Middleware for the routes that play an API; they find the habit under `habit` in the request's state."""

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["route_handler"].opt.get("control"):
            await app(scope, receive, send)
            return
        state = scope["litestar_app"].state
        habit = state.habits.meet(scope["path"])
        scope["state"]["habit"] = habit
        with state.world.being_asked(_written(scope)):
            await asyncio.sleep(habit.delay)
            if habit.status or habit.redirect or habit.garbage or habit.oversize:
                await _instead(habit, send)
            else:
                await app(scope, receive, send)

    return act


def _written(scope: HTTPScope) -> str:
    query = scope["query_string"].decode()
    return f"{scope['method']} {scope['path']}" + (f"?{query}" if query else "")


async def _instead(habit: Habit, send: Send) -> None:
    status = habit.status or (302 if habit.redirect else 200)
    headers = [(b"content-type", b"application/json")]
    if habit.redirect:
        headers.append((b"location", habit.redirect.encode()))
    if habit.retry_after is not None:
        headers.append((b"retry-after", str(habit.retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    pieces: list[Any] = [OVERSIZE_PIECE] * OVERSIZE_PIECES if habit.oversize else []
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    body = GARBAGE if habit.garbage else b'{"error": "as you wished"}'
    await send({"type": "http.response.body", "body": body, "more_body": False})
