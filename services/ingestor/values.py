"""Cells as values of their declared types, column by column, and what is wrong with those that aren't.

Cells of every type but string and object may have spaces around them. A value that its type can't hold - an integer
beyond 64 bits, a decimal with too many digits on either side of the point - is an error of code `type`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec
import polars as pl

from shared.catalog import kinds
from shared.catalog.dataset import Dataset, Field

FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Of a partitioned dataset: each year becomes a table."""

DAY = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
HOUR, SIXTY = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
DATE = f"^{DAY}$"
TIME = rf"^{HOUR}:{SIXTY}(?::{SIXTY}(?:\.[0-9]{{1,6}})?)?$"
UTC_SECOND = f"^{DAY}T{HOUR}:{SIXTY}:{SIXTY}Z$"
MOMENT = (
    rf"^({DAY})[T ]({HOUR}:{SIXTY})(?::({SIXTY})(?:\.([0-9]{{1,6}}))?)?"
    rf"(?:Z|([+-])({HOUR})(?::?({SIXTY}))?)?$"
)
UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)

EXPECTED = {
    "integer": "Expected a whole number from -9223372036854775808 to 9223372036854775807.",
    "number": "Expected a finite number, like 12 or -0.5 or 1e6.",
    "boolean": "Expected true or false (or t, f, yes, no, y, n, 1, 0).",
    "date": "Expected a date of the calendar, like 2021-11-07.",
    "datetime": "Expected a date and a time of day, like 2021-11-07T02:48:42Z.",
    "time": "Expected a time of day, like 02:48 or 02:48:42.",
    "uuid": "Expected a UUID, like 123e4567-e89b-12d3-a456-426614174000.",
    "object": "Expected a JSON object or array that Postgres can hold.",
}

# Postgres refuses both in jsonb: the escape of a NUL, and numbers with more than 16,383 digits behind the point.
JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
JSON_TINY = re.compile(r"[0-9][eE]-[0-9]{4}|\.[0-9]{10000}")
DEEPEST = -16383


class BadConstraint(Exception):
    """A field's pattern, bound or default can't be applied."""


class Check(NamedTuple):
    """A way in which a value can be wrong. `bad` reads the cell from column `:name` and the value from `name`."""

    field: str
    code: str
    bad: pl.Expr
    detail: str


def read(cells: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """Columns of the fields' types; null where a cell is missing or not of its type."""
    values = cells.select(_usual(pl.col(field.name), field.type) for field in fields)
    for field in fields:
        if values[field.name].null_count() == cells[field.name].null_count():
            continue
        refused = values[field.name].is_null() & cells[field.name].is_not_null()
        trimmed = pl.col(field.name).str.strip_chars(" ")
        again = cells.filter(refused).select(_value(trimmed, field.type)).to_series()
        values = values.with_columns(values[field.name].scatter(refused.arg_true(), again))
    return values


def checks(dataset: Dataset, fields: Sequence[Field]) -> list[Check]:
    """Everything that the declaration demands of the fields. Raises BadConstraint."""
    partition = dataset.partition_by.field if dataset.partition_by else None
    return [check for field in fields for check in _checks(field, partitioned=field.name == partition)]


def fill(values: pl.DataFrame, fields: Sequence[Field], now: datetime) -> pl.DataFrame:
    """Defaults in the place of missing values. Raises BadConstraint."""
    return values.with_columns(
        pl.col(field.name).fill_null(_default(field, now))
        for field in fields
        if field.default is not None and values[field.name].null_count()
    )


def _usual(text: pl.Expr, kind: str) -> pl.Expr:
    """As `_value`, for the one way of writing that is worth being fast at; null for every other."""
    if kind == "datetime":
        written = pl.when(text.str.contains(UTC_SECOND)).then(text)
        return _in_utc(written.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False))
    return _value(text, kind)


def _value(text: pl.Expr, kind: str) -> pl.Expr:
    """The text as a value of the type, or null."""
    if kinds.base(kind) == "decimal":
        return _decimal(text, *kinds.precision(kind))
    return READERS[kind](text)


def _number(text: pl.Expr) -> pl.Expr:
    number = text.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _decimal(text: pl.Expr, digits: int, scale: int) -> pl.Expr:
    """Looks at the digits first, because the cast would round."""
    before = rf"0*[0-9]{{0,{digits - scale}}}"
    fits = text.str.contains(rf"^[+-]?{before}(?:\.[0-9]{{0,{scale}}}0*)?$") & text.str.contains("[0-9]")
    return pl.when(fits).then(text).cast(pl.Decimal(digits, scale), strict=False)


def _date(text: pl.Expr) -> pl.Expr:
    day = pl.when(text.str.contains(DATE)).then(text).str.to_date("%Y-%m-%d", strict=False)
    return pl.when(day.dt.year() >= 1).then(day)


def _time(text: pl.Expr) -> pl.Expr:
    seconds = pl.when(text.str.len_bytes() == len("hh:mm")).then(text + ":00").otherwise(text)
    return pl.when(text.str.contains(TIME)).then(seconds).str.to_time("%H:%M:%S%.f", strict=False)


def _moments(texts: pl.Series) -> pl.Series:
    """Any of ISO 8601's ways; without an offset it is UTC. On a column, so that its parts are found only once."""
    parts = texts.str.extract_groups(MOMENT).struct.unnest()
    day, minute, second, fraction, sign, hours, minutes = (pl.col(name) for name in parts.columns)
    local = day + "T" + minute + ":" + second.fill_null("00")
    written = local.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    ahead = hours.cast(pl.Int64) * 60 + minutes.fill_null("0").cast(pl.Int64)
    offset = pl.duration(minutes=pl.when(sign == "-").then(-ahead).otherwise(ahead).fill_null(0))
    microseconds = pl.duration(microseconds=fraction.fill_null("0").str.pad_end(6, "0").cast(pl.Int64))
    moments = parts.with_columns(written.alias("written"), (written + microseconds - offset).alias("moment"))
    return moments.select(_in_utc(pl.when(pl.col("written").dt.year() >= 1).then(pl.col("moment")))).to_series()


def _in_utc(moment: pl.Expr) -> pl.Expr:
    """Postgres and Python count years from 1; Python ends at 9999."""
    return pl.when(moment.dt.year().is_between(1, 9999)).then(moment).dt.replace_time_zone("UTC")


def _objects(texts: pl.Series) -> pl.Series:
    return pl.Series([text if text is not None and _is_object(text) else None for text in texts], dtype=pl.String)


def _is_object(text: str) -> bool:
    try:
        decoded = msgspec.json.decode(text)
        if JSON_TINY.search(text):
            msgspec.json.Decoder(float_hook=_jsonb_number).decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return isinstance(decoded, dict | list) and not JSON_NUL.search(text)


def _jsonb_number(text: str) -> str:
    exponent = Decimal(text).as_tuple().exponent
    if not isinstance(exponent, int) or exponent < DEEPEST:
        raise ValueError(text)
    return text


READERS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "integer": lambda text: text.cast(pl.Int64, strict=False),
    "number": _number,
    "string": lambda text: text,
    "boolean": lambda text: text.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean),
    "date": _date,
    "datetime": lambda text: text.map_batches(_moments, return_dtype=pl.Datetime("us", "UTC")),
    "time": _time,
    "uuid": lambda text: pl.when(text.str.contains(UUID)).then(text.str.to_lowercase()),
    "object": lambda text: text.map_batches(_objects, return_dtype=pl.String),
}


def _checks(field: Field, *, partitioned: bool) -> Iterator[Check]:
    name, cell, value = field.name, pl.col(f":{field.name}"), pl.col(field.name)
    text = cell if field.type == "string" else cell.str.strip_chars(" ")
    if field.required and field.default is None:
        yield Check(name, "required", cell.is_null(), "A value is required.")
    if field.type != "string":
        yield Check(name, "type", cell.is_not_null() & value.is_null(), _expected(field.type))
    if field.max_length is not None:
        too_long = cell.str.len_chars() > field.max_length
        yield Check(name, "too_long", too_long, f"Expected {field.max_length} characters at most.")
    if field.minimum is not None:
        detail = f"Expected {_shown(field.minimum)} or more."
        yield Check(name, "minimum", value < _bound(field, field.minimum, ROUND_CEILING), detail)
    if field.maximum is not None:
        detail = f"Expected {_shown(field.maximum)} or less."
        yield Check(name, "maximum", value > _bound(field, field.maximum, ROUND_FLOOR), detail)
    if partitioned:
        detail = f"Expected a year from {FIRST_YEAR} to {LAST_YEAR}, because each year is a table."
        yield Check(name, "minimum", value.dt.year() < FIRST_YEAR, detail)
        yield Check(name, "maximum", value.dt.year() > LAST_YEAR, detail)
    if field.enum is not None:
        yield Check(name, "enum", ~text.is_in(list(field.enum)), f"Expected one of: {', '.join(field.enum)}.")
    if field.pattern is not None:
        fits = text.str.contains(_pattern(field))
        yield Check(name, "pattern", ~fits, f"Expected text that matches {field.pattern}.")


def _expected(kind: str) -> str:
    if kind in EXPECTED:
        return EXPECTED[kind]
    digits, scale = kinds.precision(kind)
    return f"Expected a number with at most {digits - scale} digits before the point and {scale} behind it."


def _shown(bound: float | str) -> str:
    return str(int(bound)) if isinstance(bound, float) and bound.is_integer() else str(bound)


def _pattern(field: Field) -> str:
    pattern = field.pattern or ""
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        message = f"field {field.name!r}: the pattern needs what a linear-time search can't do: {error}"
        raise BadConstraint(message) from error
    return pattern


def _bound(field: Field, bound: float | str, rounding: str) -> pl.Expr:
    """A bound as a value that compares exactly with the field's own."""
    kind = kinds.base(field.type)
    if kind == "number":
        return pl.lit(float(bound))
    if kind in kinds.NUMERIC:
        scale = kinds.precision(field.type)[1] if kind == "decimal" else 0
        exact = Decimal(str(bound)).quantize(Decimal(1).scaleb(-scale), rounding)
        return pl.lit(exact if kind == "decimal" else int(exact))
    if kind not in ("date", "datetime", "time"):
        message = f"field {field.name!r}: a {field.type} has neither minimum nor maximum"
        raise BadConstraint(message)
    text = str(bound)
    return _constant(field, f"{text}T00:00Z" if kind == "datetime" and re.search(DATE, text) else text)


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


def _constant(field: Field, text: str) -> pl.Expr:
    """What a declaration says, as a value of the field's type. Raises BadConstraint."""
    value = pl.DataFrame({"text": [text]}).select(_value(pl.col("text"), field.type)).to_series()
    if value[0] is None:
        message = f"field {field.name!r}: {text!r} is not a {field.type}"
        raise BadConstraint(message)
    return pl.lit(value[0], dtype=value.dtype)
