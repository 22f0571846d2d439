"""The data of a chart: labels on its axis, and a number per label for each series. Pure."""

import datetime as dt
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from shared.catalog.chart import Chart

MAX_SERIES = 8
MAX_BARS = 40
"""Bars side by side; a stacked bar counts as one."""
MAX_POINTS = 400
MAX_LABEL_LENGTH = 30
ROW_COUNT = "rows"
"""The series of a report without numeric columns."""

Row = Sequence[Any]
Ordered = (int, float, Decimal, dt.date)


class Series(msgspec.Struct, frozen=True):
    """A number for each label, None if the report has none."""

    name: str
    values: list[float | None]

    @property
    def size(self) -> float:
        """The sum of the absolute values: larger series are more visible."""
        return sum(abs(value) for value in self.values if value is not None)


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is drawn. `left_out` describes the labels that are not drawn, if any."""

    kind: Literal["bar", "line"]
    stacked: bool
    x: str
    y: str
    labels: list[str]
    series: list[Series]
    left_out: str = ""


def plot(chart: Chart | None, columns: Sequence[str], rows: Sequence[Row]) -> Plot:
    """Returns the chart of rows. Sums rows with the same x; keeps the largest labels and series and sums the others."""
    options = _complete(chart or Chart(), columns, rows)
    positions = {name: position for position, name in enumerate(columns)}
    row_keys = [_key(row[positions[options.x]]) if options.x in positions else None for row in rows]
    keys = list(dict.fromkeys(row_keys))
    series = _limit_series(_series(options, positions, row_keys, rows))
    stacked = options.stacked and len(series) > 1
    labels, left_out = _labels(keys), ""
    limit = MAX_POINTS if options.kind == "line" else MAX_BARS if stacked else max(1, MAX_BARS // max(1, len(series)))
    if len(keys) > limit:
        if all(isinstance(key, Ordered) for key in keys):
            left_out = f"the last {limit} of {len(keys)}"
            labels, series = labels[-limit:], [Series(line.name, line.values[-limit:]) for line in series]
        else:
            labels, series = _limit_labels(labels, series, limit - 1)
    return Plot(
        kind=options.kind or "bar",
        stacked=stacked,
        x=_title(options.x or ""),
        y=", ".join(_title(name) for name in options.series),
        labels=labels,
        series=series,
        left_out=left_out,
    )


def _complete(chart: Chart, columns: Sequence[str], rows: Sequence[Row]) -> Chart:
    """Fills in the missing options: text or days on the axis, and a series for each numeric column."""
    numeric = [name for number, name in enumerate(columns) if _is_numeric(row[number] for row in rows)]
    others = [name for name in columns if name not in numeric and name != chart.by]
    free = [name for name in columns if name not in (chart.by, *chart.series)]
    x = chart.x or next((name for name in others if name in free), None) or next(iter(free or columns), "")
    numbers = (name for name in numeric if name not in (x, chart.by) and name != "id" and not name.endswith("_id"))
    series = chart.series or tuple(numbers)
    values = [row[columns.index(x)] for row in rows] if x in columns else []
    days = bool(values) and all(isinstance(value, dt.date) for value in values)
    kind = chart.kind or ("line" if days else "bar")
    return msgspec.structs.replace(chart, x=x, series=series or (ROW_COUNT,), kind=kind)


def _series(chart: Chart, positions: dict[str, int], row_keys: list[Any], rows: Sequence[Row]) -> list[Series]:
    label_positions = {key: position for position, key in enumerate(dict.fromkeys(row_keys))}
    by_series: dict[str, list[float | None]] = {}
    for key, row in zip(row_keys, rows, strict=True):
        at = label_positions[key]
        for name in chart.series:
            value = row[positions[name]] if name in positions else 1
            if value is None or not math.isfinite(value):
                continue
            series = _title(name) if chart.by is None else _label(row[positions[chart.by]])
            values = by_series.setdefault(series, [None] * len(label_positions))
            values[at] = (values[at] or 0.0) + float(value)
    return [Series(name, values) for name, values in by_series.items()]


def _limit_series(series: list[Series]) -> list[Series]:
    if len(series) <= MAX_SERIES:
        return series
    kept, rest = _largest(series, MAX_SERIES - 1, lambda line: line.size)
    return [*kept, Series(f"{len(rest)} others", _sum(zip(*(line.values for line in rest), strict=True)))]


def _limit_labels(labels: list[str], series: list[Series], limit: int) -> tuple[list[str], list[Series]]:
    sizes = [sum(abs(line.values[at] or 0.0) for line in series) for at in range(len(labels))]
    kept, rest = _largest(range(len(labels)), limit, lambda at: sizes[at])
    limited = [
        Series(line.name, [*(line.values[at] for at in kept), *_sum([[line.values[at] for at in rest]])])
        for line in series
    ]
    return [*(labels[at] for at in kept), f"and {len(rest)} others"], limited


def _key(value: Any) -> Any:
    """Returns a hashable key: lists and objects become text."""
    return value if isinstance(value, Hashable) else str(value)


def _largest(items: Iterable[Any], limit: int, size: Callable[[Any], float]) -> tuple[list[Any], list[Any]]:
    """Returns the largest items and the rest, both in the original order. Among equals, the first ones win."""
    all_items = list(items)
    largest = set(sorted(range(len(all_items)), key=lambda at: -size(all_items[at]))[:limit])
    kept = [item for at, item in enumerate(all_items) if at in largest]
    return kept, [item for at, item in enumerate(all_items) if at not in largest]


def _sum(groups: Iterable[Sequence[float | None]]) -> list[float | None]:
    sums: list[float | None] = []
    for group in groups:
        numbers = [value for value in group if value is not None]
        sums.append(sum(numbers) if numbers else None)
    return sums


def _is_numeric(values: Iterable[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in present
    )


def _labels(keys: list[Any]) -> list[str]:
    """Returns the labels of keys; days that are all the first of a month become months."""
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
    return text if len(text) <= MAX_LABEL_LENGTH else f"{text[: MAX_LABEL_LENGTH - 1]}…"


def _title(column: str) -> str:
    return column.replace("_", " ").strip()
