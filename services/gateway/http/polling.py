"""Polling: waits for work of another service."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2
"""Seconds between two reads; each pause is GROWTH times as long as the one before."""
GROWTH = 1.25

T = TypeVar("T")


async def poll(
    read: Callable[[], Awaitable[T]], done: Callable[[T], bool], *, seconds: float, stopping: asyncio.Event
) -> T:
    """Calls `read` until its result is `done`, time is up or the process stops; returns the last result."""
    until, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        result = await read()
        left = until - time.monotonic()
        if done(result) or left <= 0 or stopping.is_set():
            return result
        await sleep(stopping, min(pause, left))
        pause = min(pause * GROWTH, LONGEST_PAUSE)


async def sleep(stopping: asyncio.Event, seconds: float) -> None:
    """Sleeps, and returns early if the process stops."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
