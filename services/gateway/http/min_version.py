"""The parameter `min_version`: the dataset version that a response must include."""

import asyncio
from collections.abc import Awaitable, Callable

from services.gateway.http.polling import poll
from services.gateway.http.preferences import is_strict, wait_seconds
from services.gateway.http.problems import Problem


async def wait_for_version(
    read_version: Callable[[], Awaitable[int]],
    min_version: int | None,
    prefer: str | None,
    detail: str,
    *,
    stopping: asyncio.Event,
) -> bool:
    """Waits until `read_version` returns `min_version`, as long as `Prefer: wait` allows; returns whether it did.

    Raises Problem 503 with `detail` if it did not and the client prefers `handling=strict`.
    """
    if min_version is None:
        return True
    seconds = wait_seconds(prefer) or 0
    version = await poll(read_version, lambda version: version >= min_version, seconds=seconds, stopping=stopping)
    reached = version >= min_version
    if not reached and is_strict(prefer):
        hint = "Retry in a moment, wait longer with Prefer: wait=N, or omit handling=strict."
        raise Problem(503, "stale", detail, hint=hint, headers={"Retry-After": "1"})
    return reached
