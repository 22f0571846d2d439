"""Waiting for what must come, instead of sleeping for as long as it usually takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

PAUSE_SECONDS = 0.05


async def eventually(check: Callable[[], Awaitable[Value]], seconds: float) -> Value:
    """The first truthy value of `check`; AssertionError with the last one when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = await check()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"not within {seconds} s; the last value was {value!r}"
            raise AssertionError(message)
        await asyncio.sleep(PAUSE_SECONDS)
