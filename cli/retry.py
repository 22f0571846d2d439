"""Requests that are sent again while the gateway is away."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from cli.refusals import Away

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 4.0)


def retry(call: Callable[[], T], on_away: Callable[[Away], None], pauses: Iterable[float] | None = None) -> T:
    """Calls until there is an answer, with these pauses in between. Raises Away after the last one.

    `on_away` hears of every failure that is retried, and may raise to end the retries.
    """
    for pause in PAUSES if pauses is None else pauses:
        try:
            return call()
        except Away as away:
            on_away(away)
            time.sleep(pause)
    return call()


def every(pause: float, seconds: float) -> Iterator[float]:
    """The same pause again and again, for so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield pause
