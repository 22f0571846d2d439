"""What a chart of a report shows: labels along its axis, and numbers for each of its series. Pure."""

import datetime as dt
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from shared.catalog.chart import Chart

MOST_SERIES = 8
MOST_BARS = 40
"""Those that stand beside each other; of a stacked one the parts are counted as one."""
MOST_POINTS = 400
LONGEST_LABEL = 30
COUNTED = "rows"
"""The series of a report without numbers."""

Row = Sequence[Any]
Ordered = (int, float, Decimal, dt.date)


class Series(msgspec.Struct, frozen=True):
    """A number for each label; None where the report says nothing."""

    name: str
    values: list[float | None]

    @property
    def size(self) -> float:
        """How much there is to be seen of it."""
        return sum(abs(value) for value in self.values if value is not None)


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """All that is drawn. `left_out` says what is not, if anything."""

    kind: Literal["bar", "line"]
    stacked: bool
    x: str
    y: str
    labels: list[str]
    series: list[Series]
    left_out: str = ""


def plot(chart: Chart | None, columns: Sequence[str], rows: Sequence[Row]) -> Plot:
    """Rows with the same x are one: their numbers are summed. Too many become the largest ones, and all others."""
    chosen = _choose(chart or Chart(), columns, rows)
    place = {name: number for number, name in enumerate(columns)}
    along = [_key(row[place[chosen.x]]) if chosen.x in place else None for row in rows]
    keys = list(dict.fromkeys(along))
    series = _limit_series(_series(chosen, place, along, rows))
    stacked = chosen.stacked and len(series) > 1
    labels, left_out = _labels(keys), ""
    most = MOST_POINTS if chosen.kind == "line" else MOST_BARS if stacked else max(1, MOST_BARS // max(1, len(series)))
    if len(keys) > most:
        if all(isinstance(key, Ordered) for key in keys):
            left_out = f"the last {most} of {len(keys)}"
            labels, series = labels[-most:], [Series(one.name, one.values[-most:]) for one in series]
        else:
            labels, series = _limit_labels(labels, series, most - 1)
    return Plot(
        kind=chosen.kind or "bar",
        stacked=stacked,
        x=_title(chosen.x or ""),
        y=", ".join(_title(name) for name in chosen.series),
        labels=labels,
        series=series,
        left_out=left_out,
    )


def _choose(chart: Chart, columns: Sequence[str], rows: Sequence[Row]) -> Chart:
    """With everything said: by default texts or days along the axis, and a series of each column of numbers."""
    numeric = [name for number, name in enumerate(columns) if _is_numeric(row[number] for row in rows)]
    others = [name for name in columns if name not in numeric and name != chart.by]
    free = [name for name in columns if name not in (chart.by, *chart.series)]
    x = chart.x or next((name for name in others if name in free), None) or next(iter(free or columns), "")
    numbers = (name for name in numeric if name not in (x, chart.by) and name != "id" and not name.endswith("_id"))
    series = chart.series or tuple(numbers)
    values = [row[columns.index(x)] for row in rows] if x in columns else []
    days = bool(values) and all(isinstance(value, dt.date) for value in values)
    kind = chart.kind or ("line" if days else "bar")
    return msgspec.structs.replace(chart, x=x, series=series or (COUNTED,), kind=kind)


def _series(chart: Chart, place: dict[str, int], along: list[Any], rows: Sequence[Row]) -> list[Series]:
    at = {key: number for number, key in enumerate(dict.fromkeys(along))}
    found: dict[str, list[float | None]] = {}
    for key, row in zip(along, rows, strict=True):
        number = at[key]
        for name in chart.series:
            value = row[place[name]] if name in place else 1
            if value is None or not math.isfinite(value):
                continue
            series = _title(name) if chart.by is None else _label(row[place[chart.by]])
            values = found.setdefault(series, [None] * len(at))
            values[number] = (values[number] or 0.0) + float(value)
    return [Series(name, values) for name, values in found.items()]


def _limit_series(series: list[Series]) -> list[Series]:
    if len(series) <= MOST_SERIES:
        return series
    kept, rest = _largest(series, MOST_SERIES - 1, lambda one: one.size)
    return [*kept, Series(f"{len(rest)} others", _sum(zip(*(one.values for one in rest), strict=True)))]


def _limit_labels(labels: list[str], series: list[Series], most: int) -> tuple[list[str], list[Series]]:
    sizes = [sum(abs(one.values[number] or 0.0) for one in series) for number in range(len(labels))]
    kept, rest = _largest(range(len(labels)), most, lambda number: sizes[number])
    cut = [Series(one.name, [*(one.values[n] for n in kept), *_sum([[one.values[n] for n in rest]])]) for one in series]
    return [*(labels[number] for number in kept), f"and {len(rest)} others"], cut


def _key(value: Any) -> Any:
    """Lists and objects are as they are written."""
    return value if isinstance(value, Hashable) else str(value)


def _largest(items: Iterable[Any], most: int, size: Callable[[Any], float]) -> tuple[list[Any], list[Any]]:
    """They and the rest, both in the order that they had; of equal ones the first are larger."""
    known = list(items)
    first = sorted(sorted(range(len(known)), key=lambda number: -size(known[number]))[:most])
    among = set(first)
    return [known[number] for number in first], [one for number, one in enumerate(known) if number not in among]


def _sum(groups: Iterable[Sequence[float | None]]) -> list[float | None]:
    found: list[float | None] = []
    for group in groups:
        numbers = [value for value in group if value is not None]
        found.append(sum(numbers) if numbers else None)
    return found


def _is_numeric(values: Iterable[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(one, int | float | Decimal) and not isinstance(one, bool) for one in known)


def _labels(keys: list[Any]) -> list[str]:
    """Months alone, where every day is the first of one."""
    if keys and all(type(key) is dt.date and key.day == 1 for key in keys):
        return [f"{key:%Y-%m}" for key in keys]
    return [_label(key) for key in keys]


def _label(value: Any) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return "true" if value else "false"
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M}"
    text = " ".join(str(value).split()) or "(empty)"
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _title(column: str) -> str:
    return column.replace("_", " ").strip()
