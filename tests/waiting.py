"""Polls until a condition holds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.05


async def eventually(check: Callable[[], Awaitable[Value]], seconds: float) -> Value:
    """The first truthy value of `check`; AssertionError with the last one when none comes in time."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        value = await check()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"not within {seconds} s; the last value was {value!r}"
            raise AssertionError(message)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
