"""Statistics of response times, and polling."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec


class Response(msgspec.Struct, frozen=True):
    """Response to a query, by its number; without `exact`, `hits` is a lower bound."""

    number: int
    milliseconds: float
    hits: int
    exact: bool = True


def percentile(values: Iterable[tuple[float, float]], share: float) -> float:
    """Returns the weighted percentile of pairs of value and weight."""
    ordered = sorted(values)
    enough, weight = share * math.fsum(each for _, each in ordered), 0.0
    for value, each in ordered:
        weight += each
        if weight >= enough - 1e-9:
            return value
    raise ValueError("no values")


def p95(milliseconds: Iterable[float]) -> float:
    """Returns the 95th percentile."""
    return percentile(((value, 1.0) for value in milliseconds), 0.95)


def spread(kinds: Sequence[Sequence[float]]) -> str:
    """Returns p50, p95 and maximum as text. Every kind has the same weight, whatever its number of values."""
    values = weighted(kinds)
    p50, maximum = percentile(values, 0.5), max(value for value, _ in values)
    return f"p50 {short(p50)}, p95 {short(percentile(values, 0.95))}, max {short(maximum)} ms"


def weighted(kinds: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Returns all values, weighted so that every kind counts the same."""
    return [(value, 1 / len(values)) for values in kinds for value in values]


def short(milliseconds: float) -> str:
    """Formats with two or three significant digits."""
    if milliseconds >= 100:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 1 else f"{milliseconds:.2f}"


def until(check: Callable[[], bool], seconds: float, failure: str, pause: float = 0.1) -> None:
    """Polls until the check is true. Raises AssertionError with `failure` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, failure
        time.sleep(pause)
