"""The records of a chunk as typed rows, and whatever is wrong with the others. No row is lost between the two."""

import codecs
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from services.ingestor import constraints, records, values
from services.ingestor.records import Flaw, Mask, Records
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect

LONGEST_RAW = 64 << 10
LONGEST_VALUE = 200
BOM = b"\xef\xbb\xbf"

FLAWS = {
    Flaw.STRAY_QUOTE: ("stray_quote", "Expected quotes only around a whole cell, and doubled within it."),
    Flaw.UNCLOSED_QUOTE: ("unclosed_quote", "Expected a closing quote for the cell whose quote opens on this line."),
    Flaw.TOO_LARGE: ("too_large", f"Expected a row of {records.LARGEST_RECORD} bytes at most."),
}


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


class Batch(NamedTuple):
    """Good rows (a column per field of the file, in the file's order) with their physical lines, and failed ones."""

    rows: pl.DataFrame
    lines: npt.NDArray[np.int64]
    failed: list[FailedRow]
    rows_read: int


def parse(data: bytes, dataset: Dataset, dialect: Dialect, *, line: int, now: datetime) -> Batch:
    """Checks the rows of a cut, whose first byte stands on physical line `line` of the file.

    Missing values get their defaults, in which "now" is `now` (with a time zone). Raises Miscounted, and BadConstraint
    for a field whose declaration can't be applied.
    """
    fields = [dataset.field(name) for name in dialect.columns]
    found = records.find(data, dialect.delimiter)
    wrong = _structural(data, found, len(fields))
    whole = np.ones(len(found.starts), np.bool_)
    whole[list(wrong)] = False
    cells = _cells(data, found, whole, dialect)
    typed = values.read(cells, fields)
    good = np.ones(cells.height, np.bool_)
    numbers = np.flatnonzero(whole)
    for row, error in _valued(cells, typed, constraints.checks(dataset, fields)):
        good[row] = False
        wrong.setdefault(int(numbers[row]), []).append(error)
    rows = constraints.fill(typed.filter(pl.Series(good)), fields, now)
    lines = found.lines + line
    failed = [
        FailedRow(int(lines[number]), _raw(data, found, number), tuple(errors))
        for number, errors in sorted(wrong.items())
    ]
    if rows.height + len(failed) != len(found.starts):
        message = f"{len(found.starts)} rows read, {rows.height} good, {len(failed)} failed"
        raise Miscounted(message)
    return Batch(rows, lines[numbers[good]], failed, len(found.starts))


def _structural(data: bytes, found: Records, columns: int) -> dict[int, list[RowError]]:
    """What keeps the cells of a record from being told apart or read, by the record's number."""
    wrong: dict[int, list[RowError]] = {}
    for number in np.flatnonzero(found.flaws).tolist():
        code, detail = FLAWS[Flaw(found.flaws[number])]
        wrong[number] = [RowError(code, "", None, detail)]
    sound = found.flaws == Flaw.NONE
    for number in _undecodable(data, found, sound):
        wrong.setdefault(number, []).append(RowError("encoding", "", None, "Expected text in UTF-8."))
    for number in _with_nul(data, found, sound):
        wrong.setdefault(number, []).append(RowError("nul_byte", "", None, "Expected text without NUL bytes."))
    for number in np.flatnonzero(sound & (found.fields != columns)).tolist():
        detail = f"{columns} columns expected, {found.fields[number]} found."
        wrong.setdefault(number, []).append(RowError("row_length", "", None, detail))
    return wrong


def _undecodable(data: bytes, found: Records, sound: Mask) -> Iterator[int]:
    """Decodes on from the record after each one that can't be, so that every byte is looked at once."""
    if data.isascii():
        return
    view = memoryview(data)
    start = 0
    while start < len(data):
        try:
            codecs.utf_8_decode(view[start:], "strict", True)  # noqa: FBT003 - the function takes no keywords
        except UnicodeDecodeError as error:
            number = int(np.searchsorted(found.ends, start + error.start, side="right"))
            if sound[number]:
                yield number
            start = int(found.ends[number])
        else:
            return


def _with_nul(data: bytes, found: Records, sound: Mask) -> list[int]:
    if b"\0" not in data:
        return []
    places = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    numbers = np.unique(np.searchsorted(found.ends, places, side="right"))
    return [number for number in numbers.tolist() if sound[number]]


def _cells(data: bytes, found: Records, whole: Mask, dialect: Dialect) -> pl.DataFrame:
    """The cells of whole records as text, null where they are empty."""
    schema = dict.fromkeys(dialect.columns, pl.String())
    starts, ends = found.starts[whole], found.ends[whole]
    if len(starts) == 0:
        return pl.DataFrame(schema=schema)
    gaps = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    begins, stops = starts[np.r_[0, gaps]].tolist(), ends[np.r_[gaps - 1, -1]].tolist()
    text = b"".join(data[begin:stop] for begin, stop in zip(begins, stops, strict=True))
    # At the start of a file a BOM is no data, and polars thinks that every text is a file.
    guard = dialect.delimiter.encode() * (len(schema) - 1) + b'""\n' if text.startswith(BOM) else b""
    cells = pl.read_csv(
        guard + text, has_header=False, schema=schema, separator=dialect.delimiter, raise_if_empty=False
    ).slice(1 if guard else 0)
    if cells.height != len(starts):
        message = f"{len(starts)} records, {cells.height} rows of cells"
        raise Miscounted(message)
    # A cell of nothing but quotes is as missing as one of nothing at all.
    return cells.with_columns(pl.when(pl.all() != "").then(pl.all())) if b'""' in text else cells


def _valued(
    cells: pl.DataFrame, typed: pl.DataFrame, checks: list[constraints.Check]
) -> Iterator[tuple[int, RowError]]:
    """Every wrong value with its row, column after column."""
    wide = typed.hstack(cells.rename(lambda name: f":{name}"))
    bad = wide.select(check.bad.alias(str(number)) for number, check in enumerate(checks))
    for check, mask in zip(checks, bad, strict=True):
        rows = mask.arg_true()
        for row, value in zip(rows, cells[check.field].gather(rows), strict=True):
            shown = value if value is None else value[:LONGEST_VALUE]
            yield row, RowError(check.code, check.field, shown, check.detail)


def _raw(data: bytes, found: Records, number: int) -> str:
    whole = data[found.starts[number] : found.stops[number]]
    raw = whole[:LONGEST_RAW]
    return codecs.utf_8_decode(raw, "replace", len(raw) == len(whole))[0].replace("\0", "\u2400")
