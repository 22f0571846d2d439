"""The cells of a CSV chunk as columns of text, and what keeps the cells of other records from being told apart."""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from services.ingestor import records
from services.ingestor.records import Flaw, Mask, Positions, Records
from services.ingestor.verdicts import Miscounted, RowError
from shared.contracts.parts import Dialect

BOM = b"\xef\xbb\xbf"

FLAWS = {
    Flaw.STRAY_QUOTE: ("stray_quote", "Expected quotes only around a whole cell, and doubled within it."),
    Flaw.UNCLOSED_QUOTE: ("unclosed_quote", "Expected a closing quote for the cell whose quote opens on this line."),
    Flaw.TOO_LARGE: ("too_large", f"Expected a row of {records.LARGEST_RECORD} bytes at most."),
}


class Cells(NamedTuple):
    """The rows of a chunk as text. `texts` has a column for each field that the chunk brings, null where there is
    nothing; its rows are those whose `numbers` (places among all `records`) stand beside them.
    """

    records: Records
    numbers: Positions
    texts: pl.DataFrame
    wrong: dict[int, list[RowError]]
    """By the record's number."""


def read(data: bytes, dialect: Dialect) -> Cells:
    """Raises Miscounted."""
    found = records.find(data, records.marks(dialect))
    wrong = _structural(data, found, len(dialect.columns))
    whole = np.ones(len(found.starts), np.bool_)
    whole[list(wrong)] = False
    return Cells(found, np.flatnonzero(whole), _texts(data, found, whole, dialect), wrong)


def _structural(data: bytes, found: Records, columns: int) -> dict[int, list[RowError]]:
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


def _texts(data: bytes, found: Records, whole: Mask, dialect: Dialect) -> pl.DataFrame:
    """The cells of whole records, null where they are empty."""
    names = [str(place) if name.startswith("_") else name for place, name in enumerate(dialect.columns)]
    schema = dict.fromkeys(names, pl.String())
    starts, ends = found.starts[whole], found.ends[whole]
    if len(starts) == 0:
        return pl.DataFrame(schema=schema).select(dialect.fields)
    gaps = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    begins, stops = starts[np.r_[0, gaps]].tolist(), ends[np.r_[gaps - 1, -1]].tolist()
    text = b"".join(data[begin:stop] for begin, stop in zip(begins, stops, strict=True))
    empty = 2 * dialect.quote.encode()
    # At the start of a file a BOM is no data, and polars thinks that every text is a file.
    guard = dialect.delimiter.encode() * (len(names) - 1) + empty + b"\n" if text.startswith(BOM) else b""
    texts = pl.read_csv(
        guard + text,
        has_header=False,
        schema=schema,
        separator=dialect.delimiter,
        quote_char=dialect.quote,
        raise_if_empty=False,
    ).slice(1 if guard else 0)
    if texts.height != len(starts):
        message = f"{len(starts)} records, {texts.height} rows of cells"
        raise Miscounted(message)
    texts = texts.select(dialect.fields)
    # A cell of nothing but quotes is as missing as one of nothing at all.
    return texts.with_columns(pl.when(pl.all() != "").then(pl.all())) if empty in text else texts
