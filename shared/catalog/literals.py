"""Whether a text can be read as a value of a type. The ingestor says the same of whole columns, as a test proves."""

import math
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

import msgspec

from shared.catalog import kinds

LEAST_INTEGER, MOST_INTEGER = -(1 << 63), (1 << 63) - 1
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DECIMAL = re.compile(r"[+-]?0*([0-9]*)(?:\.([0-9]*?)0*)?")
BOOLEANS = frozenset(("true", "t", "yes", "y", "1", "false", "f", "no", "n", "0"))
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIME = re.compile(rf"{CLOCK}(?::[0-5][0-9](?:\.[0-9]{{1,6}})?)?")
MOMENT = re.compile(
    rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[T ]({CLOCK})(?::[0-5][0-9](?:\.[0-9]{{1,6}})?)?"
    r"(?:Z|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)?"
)
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
STRANGE = re.compile(r"\\u0000|[eE]-[0-9]{4}|\.[0-9]{10000}")
"""What Postgres may refuse in jsonb."""


def holds(kind: str, text: str) -> bool:
    """Whether a type that `kinds.is_known` has this value. Spaces around it are the caller's."""
    if kinds.base(kind) == "decimal":
        found = places(text)
        digits, scale = kinds.precision(kind)
        return found is not None and found[0] <= digits - scale and found[1] <= scale
    return READERS[kind](text)


def places(text: str) -> tuple[int, int] | None:
    """Digits that a plain number needs before and behind the point; None for any other text."""
    match = DECIMAL.fullmatch(text)
    if match is None or not re.search("[0-9]", text):
        return None
    return len(match[1]), len(match[2] or "")


def _integer(text: str) -> bool:
    if not INTEGER.fullmatch(text) or len(text.lstrip("+-0")) > len(str(MOST_INTEGER)):
        return False
    return LEAST_INTEGER <= int(text) <= MOST_INTEGER


def _number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _date(text: str) -> bool:
    if not DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _moment(text: str) -> bool:
    match = MOMENT.fullmatch(text)
    if match is None or not _date(match[1]):
        return False
    ahead = timedelta(hours=int(match[4] or 0), minutes=int(match[5] or 0))
    try:
        local = datetime.fromisoformat(f"{match[1]}T{match[2]}")
        _ = local + ahead if match[3] == "-" else local - ahead
    except OverflowError:  # in UTC, it is not in the years from 1 to 9999
        return False
    return True


def _object(text: str) -> bool:
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return isinstance(decoded, dict | list) and not STRANGE.search(text)


READERS: dict[str, Callable[[str], bool]] = {
    "integer": _integer,
    "number": _number,
    "string": lambda text: "\0" not in text,
    "boolean": lambda text: text.lower() in BOOLEANS,
    "date": _date,
    "datetime": _moment,
    "time": lambda text: bool(TIME.fullmatch(text)),
    "uuid": lambda text: bool(UUID.fullmatch(text)),
    "object": _object,
}
