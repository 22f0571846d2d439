"""Literals of the field types: which texts are values. The ingestor decides the same for whole columns. Pure."""

import math
import re
from datetime import date, datetime, timedelta

import msgspec

LEAST_INTEGER, MOST_INTEGER = -(1 << 63), (1 << 63) - 1
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DECIMAL = re.compile(r"[+-]?0*([0-9]*)(?:\.([0-9]*?)0*)?")
BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)
"""The literals of booleans, in lower case."""
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIME = re.compile(rf"{CLOCK}(?::[0-5][0-9](?:\.[0-9]{{1,6}})?)?")
MOMENT = re.compile(
    rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[T ]({CLOCK})(?::[0-5][0-9](?:\.[0-9]{{1,6}})?)?"
    r"(?:Z|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)?"
)
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
REFUSED_IN_JSONB = re.compile(r"\\u0000|[eE]-[0-9]{4}|\.[0-9]{10000}")
"""An escaped NUL, or a number that may have more digits after the point than jsonb accepts."""


def is_string(text: str) -> bool:
    """Returns whether Postgres can keep the text: it has no NUL, and no surrogates."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def is_decimal(text: str, before: int, behind: int) -> bool:
    """Returns whether the text is a plain number with at most this many digits before and after the point."""
    digits = count_digits(text)
    return digits is not None and digits[0] <= before and digits[1] <= behind


def count_digits(text: str) -> tuple[int, int] | None:
    """Returns how many digits a plain number needs before and after the point; None for any other text."""
    match = DECIMAL.fullmatch(text)
    if match is None or not re.search("[0-9]", text):
        return None
    return len(match[1]), len(match[2] or "")


def is_integer(text: str) -> bool:
    """Returns whether the text is a whole number of 64 bits."""
    if not INTEGER.fullmatch(text) or len(text.lstrip("+-0")) > len(str(MOST_INTEGER)):
        return False
    return LEAST_INTEGER <= int(text) <= MOST_INTEGER


def is_number(text: str) -> bool:
    """Returns whether the text is a number that a double can hold."""
    return bool(NUMBER.fullmatch(text)) and math.isfinite(float(text))


def is_date(text: str) -> bool:
    """Returns whether the text is a day of the calendar."""
    if not DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_datetime(text: str) -> bool:
    """Returns whether the text is a date and a time of day, in UTC of the years 1 to 9999."""
    match = MOMENT.fullmatch(text)
    if match is None or not is_date(match[1]):
        return False
    ahead = timedelta(hours=int(match[4] or 0), minutes=int(match[5] or 0))
    try:
        local = datetime.fromisoformat(f"{match[1]}T{match[2]}")
        _ = local + ahead if match[3] == "-" else local - ahead
    except OverflowError:
        return False
    return True


def is_object(text: str) -> bool:
    """Returns whether the text is a JSON object or array that Postgres takes as jsonb."""
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return isinstance(decoded, dict | list) and not REFUSED_IN_JSONB.search(text)
