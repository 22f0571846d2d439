"""The field types: one record for each, with its SQL, its literals and what its values can do. Pure."""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from shared.catalog import literals

MOST_DIGITS = 38
DECIMAL = re.compile(r"decimal\(([0-9]{1,3}),([0-9]{1,3})\)")


class FieldType(NamedTuple):
    """A type of fields. `decimal(15,2)` has the name `decimal`, 15 digits and the scale 2."""

    name: str
    sql: str
    """The Postgres type of the column."""
    holds: Callable[[str], bool]
    """Whether a text is a literal of the type. The caller strips spaces around it."""
    parse: Callable[[str], Any]
    """Turns a literal into the value that asyncpg sends."""
    expected: str
    """The description of a literal, as the end of a sentence that begins with `Expected` or `must be`."""
    placeholder: str = "0"
    """An SQL constant that stands for null where keys are compared."""
    digits: int = 0
    scale: int | None = None
    """Digits after the point; None for inexact and non-numeric types."""
    numeric: bool = False
    bounded: bool = False
    """Whether a field may have `minimum` and `maximum`."""
    ordered: bool = True
    """Whether filters may use `gt`, `gte`, `lt` and `lte`."""
    distinct: bool = False
    """Whether its literals can hardly mean anything else, so that inference takes a column of them for this type."""
    sent_as_text: bool = False
    """Whether Postgres must convert a parameter from text."""

    @property
    def cast(self) -> str:
        """The SQL type behind a parameter, so that Postgres need not guess it."""
        return f"text::{self.sql}" if self.sent_as_text else self.sql

    @property
    def array_cast(self) -> str:
        """The SQL type behind a parameter that is an array of values."""
        return f"text[]::{self.sql}[]" if self.sent_as_text else f"{self.sql}[]"


def find(name: str) -> FieldType:
    """Returns the type that a declaration calls `name`. Raises KeyError if there is none."""
    if match := DECIMAL.fullmatch(name):
        return _decimal(int(match[1]), int(match[2]))
    if name == "decimal":
        raise KeyError(name)
    return FIELD_TYPES[name]


def find_parameter(name: str) -> FieldType:
    """Returns the type of parameters that fields of the type are compared with; for two types it holds more literals.

    A decimal may have any number of digits, and a datetime may be a date. Raises KeyError.
    """
    field_type = find(name)
    return {"decimal": FIELD_TYPES["decimal"], "datetime": DATE_OR_DATETIME}.get(field_type.name, field_type)


def names(decimal: str = "decimal(digits,scale)") -> list[str]:
    """Returns the names of all types as declarations write them."""
    return [decimal if name == "decimal" else name for name in FIELD_TYPES]


def distinct() -> list[FieldType]:
    """Returns the types whose literals can hardly mean anything else, for inference."""
    return [field_type for field_type in FIELD_TYPES.values() if field_type.distinct]


@cache
def _decimal(digits: int, scale: int) -> FieldType:
    if not 1 <= digits <= MOST_DIGITS or scale > digits:
        raise KeyError(f"decimal({digits},{scale})")
    return FIELD_TYPES["decimal"]._replace(
        sql=f"numeric({digits},{scale})",
        holds=lambda text: literals.is_decimal(text, digits - scale, scale),
        expected=f"a number with at most {digits - scale} digits before the point and {scale} behind it",
        digits=digits,
        scale=scale,
    )


def _parse_datetime(text: str) -> dt.datetime:
    """A text without an offset is UTC; a date is its beginning."""
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


FIELD_TYPES = {
    field_type.name: field_type
    for field_type in (
        FieldType(
            name="integer",
            sql="bigint",
            holds=literals.is_integer,
            parse=int,
            expected=f"a whole number from {literals.LEAST_INTEGER} to {literals.MOST_INTEGER}",
            scale=0,
            numeric=True,
            bounded=True,
        ),
        FieldType(
            name="number",
            sql="double precision",
            holds=literals.is_number,
            parse=float,
            expected="a finite number, like 12 or -0.5 or 1e6",
            numeric=True,
            bounded=True,
        ),
        FieldType(
            name="string",
            sql="text",
            holds=literals.is_string,
            parse=str,
            expected="text without a NUL character",
            placeholder="''",
        ),
        FieldType(
            name="boolean",
            sql="boolean",
            holds=lambda text: text.lower() in literals.BOOLEANS,
            parse=lambda text: literals.BOOLEANS[text.lower()],
            expected="true or false (or t, f, yes, no, y, n, 1, 0)",
            placeholder="false",
            ordered=False,
        ),
        FieldType(
            name="date",
            sql="date",
            holds=literals.is_date,
            parse=dt.date.fromisoformat,
            expected="a date of the calendar, like 2021-11-07",
            placeholder="'epoch'::date",
            bounded=True,
            distinct=True,
        ),
        FieldType(
            name="datetime",
            sql="timestamptz",
            holds=literals.is_datetime,
            parse=_parse_datetime,
            expected="a date and a time of day, like 2021-11-07T02:48:42Z",
            placeholder="'epoch'::timestamptz",
            bounded=True,
            distinct=True,
        ),
        FieldType(
            name="time",
            sql="time",
            holds=lambda text: bool(literals.TIME.fullmatch(text)),
            parse=dt.time.fromisoformat,
            expected="a time of day, like 02:48 or 02:48:42",
            placeholder="'00:00'::time",
            bounded=True,
            distinct=True,
        ),
        FieldType(
            name="uuid",
            sql="uuid",
            holds=lambda text: bool(literals.UUID.fullmatch(text)),
            parse=UUID,
            expected="a UUID, like 123e4567-e89b-12d3-a456-426614174000",
            placeholder="'00000000-0000-0000-0000-000000000000'::uuid",
            distinct=True,
        ),
        FieldType(
            name="object",
            sql="jsonb",
            holds=literals.is_object,
            parse=str,
            expected="a JSON object or array that Postgres can hold",
            ordered=False,
            sent_as_text=True,
        ),
        FieldType(
            name="decimal",
            sql="numeric",
            holds=lambda text: literals.is_decimal(text, MOST_DIGITS, MOST_DIGITS),
            parse=Decimal,
            expected=f"a number with at most {MOST_DIGITS} digits before the point and {MOST_DIGITS} behind it",
            digits=2 * MOST_DIGITS,
            scale=MOST_DIGITS,
            numeric=True,
            bounded=True,
        ),
    )
}
"""The types by name. The decimal is that of parameters; the one of a field follows from its digits and scale."""

DATE_OR_DATETIME = FIELD_TYPES["datetime"]._replace(
    holds=lambda text: literals.is_datetime(text) or literals.is_date(text),
    expected="a date, or a date and a time of day, like 2021-11-07T02:48:42Z (in a URL, + must be written %2B)",
)
