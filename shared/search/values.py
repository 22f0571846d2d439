"""Values of field types: parses the texts of requests and cursors, and writes them."""

import datetime as dt
from decimal import Decimal
from typing import Any

from shared.catalog import field_types

MAX_SHOWN = 60


class InvalidValue(ValueError):
    """The text is no literal of the type. The message follows the name of the field."""

    def __init__(self, type_name: str, text: str, expected: str) -> None:
        shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
        super().__init__(f"is {type_name}, which {shown!r} is not: it must be {expected}")


def parse(type_name: str, text: str) -> Any:
    """Returns the value that asyncpg sends to compare a field of this type with. Spaces around a literal are ignored.

    Raises NotOfType.
    """
    parameter = field_types.find_parameter(type_name)
    plain = text if type_name == "string" else text.strip(" ")
    if not parameter.holds(plain):
        raise InvalidValue(type_name, text, parameter.expected)
    return parameter.parse(plain)


def to_text(value: Any) -> str | None:
    """Returns the text that `parse` turns into this value of asyncpg's; None for None."""
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
