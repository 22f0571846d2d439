"""Texts as values of declared types: what a file may say, a question may, with spaces around it."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.catalog import kinds, literals

CASTS = {**kinds.SQL, "decimal": "numeric", "object": "text::jsonb"}
"""Behind a parameter: Postgres is told its type instead of guessing."""
ARRAYS = {**{kind: f"{cast}[]" for kind, cast in CASTS.items()}, "object": "text[]::jsonb[]"}
ALIKE = {
    "integer": "a whole number of at most 64 bits, like -12",
    "number": "a number, like -0.5 or 1e6",
    "decimal": f"a number of at most {kinds.MOST_DIGITS} digits on each side of the point, like 1234.50",
    "string": "text without a NUL character",
    "boolean": "true or false",
    "date": "a day, like 2021-11-07",
    "datetime": "a day or a moment, like 2021-11-07T02:48:42Z (in a URL, + must be written %2B)",
    "time": "a time, like 02:48 or 02:48:42.5",
    "uuid": "a UUID, like 123e4567-e89b-12d3-a456-426614174000",
    "object": "a JSON object or array",
}
TRUE = ("true", "t", "yes", "y", "1")
LONGEST_SHOWN = 60


class NotOfType(ValueError):
    """The text is no value of the type; the message goes on after the name of the field."""

    def __init__(self, kind: str, text: str) -> None:
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
        super().__init__(f"is {kind}, which {shown!r} is not: it must be {ALIKE[kinds.base(kind)]}")


def read(kind: str, text: str) -> Any:
    """As asyncpg wants it. A number may have more digits than a decimal field keeps: one may still compare with it.

    Raises NotOfType.
    """
    base = kinds.base(kind)
    plain = text if base in ("string", "object") else text.strip(" ")
    if not _holds(base, plain):
        raise NotOfType(kind, text)
    return READERS[base](plain)


def write(value: Any) -> str | None:
    """The text that `read` takes for a value as asyncpg gives it; None for none."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case dt.date() | dt.time():
            return value.isoformat()
    return str(value)


def _holds(base: str, text: str) -> bool:
    match base:
        case "decimal":
            places = literals.places(text)
            return places is not None and max(places) <= kinds.MOST_DIGITS
        case "datetime":
            return literals.holds("datetime", text) or literals.holds("date", text)
        case "string":
            return literals.holds("string", text) and not any("\ud800" <= char <= "\udfff" for char in text)
    return literals.holds(base, text)


def _moment(text: str) -> dt.datetime:
    """Without an offset it is UTC; a day is its beginning."""
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


READERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "decimal": Decimal,
    "string": str,
    "boolean": lambda text: text.lower() in TRUE,
    "date": dt.date.fromisoformat,
    "datetime": _moment,
    "time": dt.time.fromisoformat,
    "uuid": UUID,
    "object": str,
}
