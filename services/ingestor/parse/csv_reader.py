"""Reads CSV bytes as columns of text."""

import numpy as np
import polars as pl

from services.ingestor.parse import csv_scanner, raw_columns
from services.ingestor.parse.csv_scanner import Mask, Records
from services.ingestor.parse.raw_columns import RawColumns
from services.ingestor.parse.row_errors import RowCountMismatch, RowError
from shared.contracts.parts import Dialect

BOM = b"\xef\xbb\xbf"


def read(data: bytes, dialect: Dialect) -> RawColumns:
    """Returns the columns of the dialect. Raises RowCountMismatch."""
    records = csv_scanner.find_records(data, csv_scanner.separators(dialect))
    errors = raw_columns.find_unreadable(data, records)
    columns = len(dialect.columns)
    for number in np.flatnonzero((records.flaws == csv_scanner.Flaw.NONE) & (records.fields != columns)).tolist():
        detail = f"{columns} columns expected, {records.fields[number]} found."
        errors.setdefault(number, []).append(RowError("row_length", "", None, detail))
    readable = np.ones(len(records.starts), np.bool_)
    readable[list(errors)] = False
    return RawColumns(records, np.flatnonzero(readable), _read_cells(data, records, readable, dialect), errors)


def _read_cells(data: bytes, records: Records, readable: Mask, dialect: Dialect) -> pl.DataFrame:
    """Returns the cells of the readable records, null where they are empty."""
    names = [str(place) if name.startswith("_") else name for place, name in enumerate(dialect.columns)]
    schema = dict.fromkeys(names, pl.String())
    starts, ends = records.starts[readable], records.ends[readable]
    if len(starts) == 0:
        return pl.DataFrame(schema=schema).select(dialect.fields)
    gaps = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    begins, stops = starts[np.r_[0, gaps]].tolist(), ends[np.r_[gaps - 1, -1]].tolist()
    text = b"".join(data[begin:stop] for begin, stop in zip(begins, stops, strict=True))
    quote = dialect.quote.encode()
    # polars drops a BOM at the start of each text, but only at the start of a file it is no data.
    guard = dialect.delimiter.encode() * (len(names) - 1) + quote + quote + b"\n" if text.startswith(BOM) else b""
    columns = pl.read_csv(
        guard + text,
        has_header=False,
        schema=schema,
        separator=dialect.delimiter,
        quote_char=dialect.quote,
        raise_if_empty=False,
    ).slice(1 if guard else 0)
    if columns.height != len(starts):
        message = f"{len(starts)} records, {columns.height} rows of cells"
        raise RowCountMismatch(message)
    columns = columns.select(dialect.fields)
    # A cell that consists of two quotes is missing too. Searching one byte first is fast.
    empty = quote in text and quote + quote in text
    return columns.with_columns(pl.when(pl.all() != "").then(pl.all())) if empty else columns
