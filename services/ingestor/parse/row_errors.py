"""What is said about rows that are refused."""

import codecs

import msgspec

from shared.contracts.failures import LONGEST_RAW

LONGEST_VALUE = 200


class Miscounted(Exception):
    """Rows were read that are neither good nor failed: a bug, and nothing may be loaded."""


class RowError(msgspec.Struct, frozen=True):
    """What is wrong with a row, in `column` or, when that is empty, in all of it. `detail` says what was expected."""

    code: str
    column: str
    value: str | None
    detail: str


class FailedRow(msgspec.Struct, frozen=True):
    """A refused row: the physical line it begins on, its text, and all that is wrong with it.

    In `raw`, undecodable bytes are U+FFFD and a NUL is U+2400, because Postgres can't keep them in text.
    """

    line: int
    raw: str
    errors: tuple[RowError, ...]


def raw_text(row: bytes) -> str:
    """A refused row as the text that is kept of it."""
    raw = row[:LONGEST_RAW]
    return codecs.utf_8_decode(raw, "replace", len(raw) == len(row))[0].replace("\0", "\u2400")


def shown(value: str) -> str:
    """A wrong value, as much of it as is told."""
    return value[:LONGEST_VALUE].replace("\0", "\u2400")
