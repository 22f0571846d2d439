"""The parameter `min_version`: how fresh a response must be."""

import asyncio
from collections.abc import Awaitable, Callable

from services.gateway.http.polling import poll
from services.gateway.http.preferences import is_strict, wait_seconds
from services.gateway.http.problems import Problem


async def reach(
    look: Callable[[], Awaitable[int]], version: int | None, prefer: str | None, behind: str, *, stopping: asyncio.Event
) -> bool:
    """Waits as long as the client prefers until `look` returns `version`; returns whether it did.

    Raises Problem 503 with the detail `behind` if it did not and the client prefers `handling=strict`.
    """
    if version is None:
        return True
    seconds = wait_seconds(prefer) or 0
    reached = await poll(look, lambda found: found >= version, seconds=seconds, stopping=stopping) >= version
    if not reached and is_strict(prefer):
        hint = "Retry in a moment, wait longer with Prefer: wait=N, or omit handling=strict."
        raise Problem(503, "stale", behind, hint=hint, headers={"Retry-After": "1"})
    return reached
