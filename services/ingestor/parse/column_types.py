"""Columns of the field types: one record for each, with how polars parses its cells and how COPY sends its values.

Cells of every type but string and object may have spaces around them. A value beyond its type - an integer of more than
64 bits, a decimal with too many digits on either side of the point - is no value of it.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec
import polars as pl

from shared.catalog import field_types, literals
from shared.catalog.dataset import Field
from shared.catalog.field_types import FieldType

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

# Postgres refuses both in jsonb: an escaped NUL, and numbers with more than 16,383 digits after the point.
JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
JSON_TINY = re.compile(r"[0-9][eE]-[0-9]{4}|\.[0-9]{10000}")
LEAST_EXPONENT = -16383
JSONB_VERSION = b"\x01"
EARLIEST, LATEST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - in UTC, unsaid


class ColumnType(NamedTuple):
    """The parser, literals and binary form for columns of a field type."""

    parse: Callable[[pl.Expr, FieldType], pl.Expr]
    """Parses a column of text; null where a text is not of the type."""
    parse_fast: Callable[[pl.Expr], pl.Expr] | None = None
    """Parses the most frequent notation alone, in less time; null for every other."""
    to_binary: Callable[[pl.Expr], pl.Expr] = lambda column: column
    """Converts a column to the Arrow type whose bytes a binary COPY takes."""
    ordered_as_in_postgres: bool = True
    """Whether polars orders the values as Postgres does, so that its least and greatest bound them there."""


def read(cells: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
    """Parses columns of text into the types of the fields; null where a cell is missing or not of its type."""
    # Lazy, so that polars evaluates an expression that occurs twice only once.
    values = cells.lazy().select([_parse_fast(pl.col(field.name), field.type) for field in fields]).collect()
    for field in fields:
        if values[field.name].null_count() == cells[field.name].null_count():
            continue
        refused = values[field.name].is_null() & cells[field.name].is_not_null()
        trimmed = pl.col(field.name).str.strip_chars(" ")
        again = cells.filter(refused).select(convert(trimmed, field.type)).to_series()
        values = values.with_columns(values[field.name].scatter(refused.arg_true(), again))
    return values


def _parse_fast(text: pl.Expr, type_name: str) -> pl.Expr:
    parse = find(type_name).parse_fast
    return convert(text, type_name) if parse is None else parse(text)


def convert(text: pl.Expr, type_name: str) -> pl.Expr:
    """Parses text as a value of the type; null where it is not one."""
    return find(type_name).parse(text, field_types.find(type_name))


def find(type_name: str) -> ColumnType:
    """Returns the record of a field's type. Raises KeyError."""
    return COLUMN_TYPES[field_types.find(type_name).name]


def _parse_number(text: pl.Expr, _: FieldType) -> pl.Expr:
    number = text.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _parse_decimal(text: pl.Expr, field_type: FieldType) -> pl.Expr:
    """Checks the digits first, because the cast would round."""
    digits, scale = field_type.digits, field_type.scale
    before = rf"0*[0-9]{{0,{digits - (scale or 0)}}}"
    fits = text.str.contains(rf"^[+-]?{before}(?:\.[0-9]{{0,{scale}}}0*)?$") & text.str.contains("[0-9]")
    return pl.when(fits).then(text).cast(pl.Decimal(digits, scale or 0), strict=False)


def _parse_boolean(text: pl.Expr, _: FieldType) -> pl.Expr:
    return text.str.to_lowercase().replace_strict(literals.BOOLEANS, default=None, return_dtype=pl.Boolean)


def _parse_date(text: pl.Expr, _: FieldType) -> pl.Expr:
    day = pl.when(text.str.contains(DATE)).then(text).str.to_date("%Y-%m-%d", strict=False)
    return pl.when(day.dt.year() >= 1).then(day)


def _parse_time(text: pl.Expr, _: FieldType) -> pl.Expr:
    seconds = pl.when(text.str.len_bytes() == len("hh:mm")).then(text + ":00").otherwise(text)
    return pl.when(text.str.contains(TIME)).then(seconds).str.to_time("%H:%M:%S%.f", strict=False)


def _parse_utc_second(text: pl.Expr) -> pl.Expr:
    moment = text.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", strict=False, cache=False)
    return _in_utc(pl.when(text.str.contains(UTC_SECOND)).then(moment))


def _parse_moments(texts: pl.Series) -> pl.Series:
    """Parses every notation of ISO 8601; without an offset it is UTC. On a series, to match once."""
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


def _parse_uuid(text: pl.Expr, _: FieldType) -> pl.Expr:
    return pl.when(text.str.contains(UUID)).then(text.str.to_lowercase())


def _uuid_to_binary(column: pl.Expr) -> pl.Expr:
    return column.str.replace_all("-", "", literal=True).str.decode("hex")


def _parse_objects(texts: pl.Series) -> pl.Series:
    return pl.Series([text if text is not None and _is_object(text) else None for text in texts], dtype=pl.String)


def _is_object(text: str) -> bool:
    try:
        decoded = msgspec.json.decode(text)
        if JSON_TINY.search(text):
            msgspec.json.Decoder(float_hook=_check_exponent).decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return isinstance(decoded, dict | list) and not JSON_NUL.search(text)


def _check_exponent(text: str) -> str:
    exponent = Decimal(text).as_tuple().exponent
    if not isinstance(exponent, int) or exponent < LEAST_EXPONENT:
        raise ValueError(text)
    return text


def _object_to_binary(column: pl.Expr) -> pl.Expr:
    return pl.lit(JSONB_VERSION) + column.cast(pl.Binary)


COLUMN_TYPES = {
    "integer": ColumnType(lambda text, _: text.cast(pl.Int64, strict=False)),
    "number": ColumnType(_parse_number),
    "string": ColumnType(lambda text, _: text, ordered_as_in_postgres=False),
    "boolean": ColumnType(_parse_boolean, ordered_as_in_postgres=False),
    "date": ColumnType(_parse_date),
    "datetime": ColumnType(
        lambda text, _: text.map_batches(_parse_moments, return_dtype=pl.Datetime("us", "UTC")),
        parse_fast=_parse_utc_second,
    ),
    "time": ColumnType(_parse_time, ordered_as_in_postgres=False),
    "uuid": ColumnType(_parse_uuid, to_binary=_uuid_to_binary, ordered_as_in_postgres=False),
    "object": ColumnType(
        lambda text, _: text.map_batches(_parse_objects, return_dtype=pl.String),
        to_binary=_object_to_binary,
        ordered_as_in_postgres=False,
    ),
    "decimal": ColumnType(_parse_decimal),
}
"""Column types by the name of their field type."""
