"""Polling: for answers that wait until another service has done its work."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2
GROWTH = 1.25

T = TypeVar("T")


async def poll(
    look: Callable[[], Awaitable[T]], done: Callable[[T], bool], *, seconds: float, stopping: asyncio.Event
) -> T:
    """Calls `look` until its result is `done`, time is up or the process stops; returns the last result."""
    until, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        found = await look()
        left = until - time.monotonic()
        if done(found) or left <= 0 or stopping.is_set():
            return found
        await rest(stopping, min(pause, left))
        pause = min(pause * GROWTH, LONGEST_PAUSE)


async def rest(stopping: asyncio.Event, seconds: float) -> None:
    """Sleeps, and returns early if the process stops."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
