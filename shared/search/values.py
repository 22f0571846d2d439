"""Values of field types: reads them from the texts of requests and cursors, and writes them as such."""

import datetime as dt
from decimal import Decimal
from typing import Any

from shared.catalog import field_types

LONGEST_SHOWN = 60


class NotOfType(ValueError):
    """The text is no literal of the type. The message follows the name of the field."""

    def __init__(self, kind: str, text: str, expected: str) -> None:
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
        super().__init__(f"is {kind}, which {shown!r} is not: it must be {expected}")


def read(kind: str, text: str) -> Any:
    """Returns the value that asyncpg sends to compare a field of this type with. Spaces around a literal are ignored.

    Raises NotOfType.
    """
    parameter = field_types.find_parameter(kind)
    plain = text if kind == "string" else text.strip(" ")
    if not parameter.holds(plain):
        raise NotOfType(kind, text, parameter.expected)
    return parameter.parse(plain)


def write(value: Any) -> str | None:
    """Returns the text that `read` turns into this value of asyncpg's; None for None."""
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
