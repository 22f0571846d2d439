"""Cells as values of their declared types, column by column.

Cells of every type but string and object may have spaces around them. A value that its type can't hold - an integer
beyond 64 bits, a decimal with too many digits on either side of the point - is none of that type.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
import polars as pl

from shared.catalog import kinds
from shared.catalog.dataset import Field

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

# Postgres refuses both in jsonb: the escape of a NUL, and numbers with more than 16,383 digits behind the point.
JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
JSON_TINY = re.compile(r"[0-9][eE]-[0-9]{4}|\.[0-9]{10000}")
DEEPEST = -16383
EARLIEST, LATEST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - in UTC, unsaid


def read(cells: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """Columns of the fields' types; null where a cell is missing or not of its type."""
    # Lazy, so that an expression that stands in two places is worked out once.
    values = cells.lazy().select([_usual(pl.col(field.name), field.type) for field in fields]).collect()
    for field in fields:
        if values[field.name].null_count() == cells[field.name].null_count():
            continue
        refused = values[field.name].is_null() & cells[field.name].is_not_null()
        trimmed = pl.col(field.name).str.strip_chars(" ")
        again = cells.filter(refused).select(convert(trimmed, field.type)).to_series()
        values = values.with_columns(values[field.name].scatter(refused.arg_true(), again))
    return values


def _usual(text: pl.Expr, kind: str) -> pl.Expr:
    """As `convert`, for the one way of writing that is worth being fast at; null for every other."""
    if kind == "datetime":
        moment = text.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False, cache=False)
        return _in_utc(pl.when(text.str.contains(UTC_SECOND)).then(moment))
    return convert(text, kind)


def convert(text: pl.Expr, kind: str) -> pl.Expr:
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
    return pl.when(moment.is_between(EARLIEST, LATEST)).then(moment).dt.replace_time_zone("UTC")


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
