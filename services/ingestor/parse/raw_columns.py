"""Rows as columns of text, before their values are parsed; and the errors of rows that can't be read as such."""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from services.ingestor.parse import csv_scanner
from services.ingestor.parse.csv_scanner import Flaw, Mask, Positions, Records
from services.ingestor.parse.row_errors import RowError

Errors = dict[int, list[RowError]]
"""Errors by the number of the record."""

STRAY_QUOTE = "Expected quotes only around a whole cell, and doubled within it."
UNCLOSED_QUOTE = "Expected a closing quote for the cell whose quote opens on this line."
FLAWS = {
    Flaw.STRAY_QUOTE: RowError("stray_quote", "", None, STRAY_QUOTE),
    Flaw.UNCLOSED_QUOTE: RowError("unclosed_quote", "", None, UNCLOSED_QUOTE),
    Flaw.TOO_LARGE: RowError("too_large", "", None, f"Expected a row of {csv_scanner.LARGEST_RECORD} bytes at most."),
}


class RawColumns(NamedTuple):
    """The readable rows as columns of text, and the errors of the others."""

    records: Records
    numbers: Positions
    """The numbers of these rows among the records."""
    columns: pl.DataFrame
    """A column of text for each field of the chunk; null where a value is missing."""
    errors: Errors


def find_unreadable(data: bytes, records: Records) -> Errors:
    """Returns the errors of records that have a flaw, or are no text."""
    errors: Errors = {}
    for number in np.flatnonzero(records.flaws).tolist():
        errors[number] = [FLAWS[Flaw(records.flaws[number])]]
    sound = records.flaws == Flaw.NONE
    for number in _undecodable(data, records, sound):
        errors.setdefault(number, []).append(RowError("encoding", "", None, "Expected text in UTF-8."))
    for number in _with_nul(data, records, sound):
        errors.setdefault(number, []).append(RowError("nul_byte", "", None, "Expected text without NUL bytes."))
    return errors


def _undecodable(data: bytes, records: Records, sound: Mask) -> Iterator[int]:
    """Continues after each record that can't be decoded, so that every byte is decoded once."""
    if data.isascii():
        return
    view = memoryview(data)
    start = 0
    while start < len(data):
        try:
            codecs.utf_8_decode(view[start:], "strict", True)  # noqa: FBT003 - the function takes no keywords
        except UnicodeDecodeError as error:
            number = int(np.searchsorted(records.ends, start + error.start, side="right"))
            if sound[number]:
                yield number
            start = int(records.ends[number])
        else:
            return


def _with_nul(data: bytes, records: Records, sound: Mask) -> list[int]:
    if b"\0" not in data:
        return []
    places = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    numbers = np.unique(np.searchsorted(records.ends, places, side="right"))
    return [number for number in numbers.tolist() if sound[number]]
