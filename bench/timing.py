"""Times of many questions, and what is said of them."""

import math
from collections.abc import Iterable, Sequence

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """To the question of that number; `exact` tells whether there are just so many hits, and not more."""

    number: int
    milliseconds: float
    hits: int
    exact: bool = True


def percentile(values: Iterable[tuple[float, float]], share: float) -> float:
    """The smallest value that so much of the weight does not exceed; of pairs of a value and its weight."""
    ordered = sorted(values)
    enough, weight = share * math.fsum(each for _, each in ordered), 0.0
    for value, each in ordered:
        weight += each
        if weight >= enough - 1e-9:
            return value
    raise ValueError("no values")


def p95(milliseconds: Iterable[float]) -> float:
    """Of values that count alike."""
    return percentile(((value, 1.0) for value in milliseconds), 0.95)


def spread(kinds: Sequence[Sequence[float]]) -> str:
    """Of kinds that count alike, however many values each has."""
    values = mixed(kinds)
    p50, most = percentile(values, 0.5), max(value for value, _ in values)
    return f"p50 {short(p50)}, p95 {short(percentile(values, 0.95))}, max {short(most)} ms"


def mixed(kinds: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Every value with its weight."""
    return [(value, 1 / len(values)) for values in kinds for value in values]


def short(milliseconds: float) -> str:
    """Two or three digits are what a measurement is good for."""
    if milliseconds >= 100:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 1 else f"{milliseconds:.2f}"
