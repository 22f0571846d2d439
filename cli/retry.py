"""Retries requests while the gateway is unavailable."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from cli.errors import GatewayUnavailable

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 4.0)


def retry(
    call: Callable[[], T], on_failure: Callable[[GatewayUnavailable], None], pauses: Iterable[float] | None = None
) -> T:
    """Calls until it succeeds, with these pauses in seconds between. Raises GatewayUnavailable after the last one.

    `on_failure` gets every failure before the retry; it may raise to stop retrying.
    """
    for pause in PAUSES if pauses is None else pauses:
        try:
            return call()
        except GatewayUnavailable as failure:
            on_failure(failure)
            time.sleep(pause)
    return call()


def constant_pauses(pause: float, seconds: float) -> Iterator[float]:
    """Yields the same pause until `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield pause
