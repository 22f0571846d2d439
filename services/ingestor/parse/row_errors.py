"""Failed rows and their errors."""

import codecs

import msgspec

from shared.contracts.failures import LONGEST_RAW

LONGEST_VALUE = 200


class RowCountMismatch(Exception):
    """Some rows are neither good nor failed. This is a bug, and nothing may be loaded."""


class RowError(msgspec.Struct, frozen=True):
    """An error of a row, in `column` or, when that is empty, in the whole row. `detail` says what was expected."""

    code: str
    column: str
    value: str | None
    detail: str


class FailedRow(msgspec.Struct, frozen=True):
    """A row that failed: the physical line on which it begins, its text, and all its errors.

    In `raw`, U+FFFD replaces undecodable bytes and U+2400 replaces NUL, because Postgres can't store them in text.
    """

    line: int
    raw: str
    errors: tuple[RowError, ...]


def raw_text(row: bytes) -> str:
    """Returns the text to keep of a failed row, of LONGEST_RAW bytes at most."""
    raw = row[:LONGEST_RAW]
    return codecs.utf_8_decode(raw, "replace", len(raw) == len(row))[0].replace("\0", "\u2400")


def shorten(value: str) -> str:
    """Returns the beginning of a wrong value, for its error."""
    return value[:LONGEST_VALUE].replace("\0", "\u2400")
