"""Runs functions beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
SMALL_BYTES = 64 << 10
"""Bytes of input that take less time than the event loop may be busy; a thread would only add to it."""


async def offload(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls the function, whose input has `size` bytes: in a thread unless they are few."""
    if size < SMALL_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
