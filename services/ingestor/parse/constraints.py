"""Checks of values by polars, from what fields declare: required, type, length, bounds, enum, pattern; and defaults."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec
import polars as pl

from services.ingestor.parse.column_types import convert
from shared.catalog import field_types, literals
from shared.catalog.dataset import Dataset, Field

FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Years of a partitioned dataset, because each becomes a table."""


class BadConstraint(Exception):
    """A field's pattern, bound or default can't be applied."""


class Check(NamedTuple):
    """A check of one field. `bad` is true for wrong values; it reads columns `:name` (cell) and `name` (value)."""

    field: str
    code: str
    bad: pl.Expr
    detail: str


def build_checks(dataset: Dataset, fields: Sequence[Field]) -> list[Check]:
    """Returns all checks of the fields. Raises BadConstraint."""
    partition = dataset.partition_by.field if dataset.partition_by else None
    return [check for field in fields for check in _build_checks(field, partitioned=field.name == partition)]


def fill_defaults(values: pl.DataFrame, fields: Sequence[Field], now: datetime) -> pl.DataFrame:
    """Replaces missing values by defaults, in which "now" is `now`. Raises BadConstraint."""
    return values.with_columns(
        pl.col(field.name).fill_null(_default(field, now))
        for field in fields
        if field.default is not None and values[field.name].null_count()
    )


def _build_checks(field: Field, *, partitioned: bool) -> Iterator[Check]:
    name, cell, value = field.name, pl.col(f":{field.name}"), pl.col(field.name)
    text = cell if field.type == "string" else cell.str.strip_chars(" ")
    if field.required and field.default is None:
        yield Check(name, "required", cell.is_null(), "A value is required.")
    if field.type != "string":
        yield Check(
            name, "type", cell.is_not_null() & value.is_null(), f"Expected {field_types.find(field.type).expected}."
        )
    if field.max_length is not None:
        too_long = cell.str.len_chars() > field.max_length
        yield Check(name, "too_long", too_long, f"Expected {field.max_length} characters at most.")
    if field.minimum is not None:
        detail = f"Expected {_format_bound(field.minimum)} or more."
        yield Check(name, "minimum", value < _bound(field, field.minimum, ROUND_CEILING), detail)
    if field.maximum is not None:
        detail = f"Expected {_format_bound(field.maximum)} or less."
        yield Check(name, "maximum", value > _bound(field, field.maximum, ROUND_FLOOR), detail)
    if partitioned:
        detail = f"Expected a year from {FIRST_YEAR} to {LAST_YEAR}."
        yield Check(name, "minimum", value < _start_of_year(field, FIRST_YEAR), detail)
        yield Check(name, "maximum", value >= _start_of_year(field, LAST_YEAR + 1), detail)
    if field.enum is not None:
        yield Check(name, "enum", ~text.is_in(list(field.enum)), f"Expected one of: {', '.join(field.enum)}.")
    if field.pattern is not None:
        fits = text.str.contains(_checked_pattern(field))
        yield Check(name, "pattern", ~fits, f"Expected text that matches {field.pattern}.")


def _format_bound(bound: float | str) -> str:
    return str(int(bound)) if isinstance(bound, float) and bound.is_integer() else str(bound)


def _checked_pattern(field: Field) -> str:
    pattern = field.pattern or ""
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        message = f"field {field.name!r}: the pattern can't be searched for in linear time: {error}"
        raise BadConstraint(message) from error
    return pattern


def _bound(field: Field, bound: float | str, rounding: str) -> pl.Expr:
    """Returns a bound as a value that compares exactly with the values of the field."""
    field_type = field_types.find(field.type)
    if not field_type.bounded:
        message = f"field {field.name!r}: a {field.type} can't have minimum or maximum"
        raise BadConstraint(message)
    if field_type.numeric and field_type.scale is None:
        return pl.lit(float(bound))
    if field_type.numeric:
        exact = Decimal(str(bound)).quantize(Decimal(1).scaleb(-(field_type.scale or 0)), rounding)
        return pl.lit(exact if field.type != "integer" else int(exact))
    text = str(bound)
    return _constant(field, f"{text}T00:00Z" if field.type == "datetime" and literals.is_date(text) else text)


def _default(field: Field, now: datetime) -> pl.Expr:
    default = field.default
    if default == "now" and field.type in ("date", "datetime"):
        default = now.astimezone(UTC) if field.type == "datetime" else now.astimezone(UTC).date()
    if isinstance(default, dict | list):
        return _constant(field, msgspec.json.encode(default).decode())
    if isinstance(default, datetime | date | time):
        return _constant(field, default.isoformat())
    if isinstance(default, float):
        return _constant(field, format(Decimal(repr(default)), "f"))
    return _constant(field, str(default))


def _start_of_year(field: Field, year: int) -> datetime | date:
    return datetime(year, 1, 1, tzinfo=UTC) if field.type == "datetime" else date(year, 1, 1)


def _constant(field: Field, text: str) -> pl.Expr:
    """Parses a text of the declaration as a value of the field's type. Raises BadConstraint."""
    value = pl.DataFrame({"text": [text]}).select(convert(pl.col("text"), field.type)).to_series()
    if value[0] is None:
        message = f"field {field.name!r}: {text!r} is not a {field.type}"
        raise BadConstraint(message)
    return pl.lit(value[0], dtype=value.dtype)
