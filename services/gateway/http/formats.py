"""Rows as CSV or NDJSON."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from services.gateway.http.responses import ENCODER, escape_formula

Row = Sequence[Any]


class RowFormat(Protocol):
    """A file format for rows."""

    media_type: str
    extension: str

    def header(self) -> bytes:
        """Returns the bytes before the first row."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Returns the rows as lines."""


class Csv:
    """CSV with a header. Values are written as an import reads them; null is an empty cell."""

    media_type = "text/csv"
    extension = "csv"

    def __init__(self, columns: Sequence[str], *, spreadsheet_safe: bool) -> None:
        self._columns = columns
        self._spreadsheet_safe = spreadsheet_safe

    def header(self) -> bytes:
        """Returns the line of column names."""
        return csv_lines([self._columns])

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Returns a record for each row."""
        return csv_lines([[self._cell(value) for value in row] for row in rows])

    def _cell(self, value: Any) -> Any:
        kind = type(value)  # isinstance is slower, and this runs for every value of a download
        if kind is str:
            return escape_formula(value) if self._spreadsheet_safe else value
        if value is None or kind is int or kind is float:
            return value
        if kind is bool:
            return "true" if value else "false"
        text = msgspec.to_builtins(value)
        return text if isinstance(text, str) else msgspec.json.encode(text).decode()


class Ndjson:
    """NDJSON: one object per line, encoded as in a JSON response."""

    media_type = "application/x-ndjson"
    extension = "ndjson"

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def header(self) -> bytes:
        """Returns nothing: NDJSON has no header."""
        return b""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Returns an object for each row."""
        return ENCODER.encode_lines([dict(zip(self._columns, row, strict=True)) for row in rows])


def csv_lines(rows: Iterable[Row]) -> bytes:
    """Returns rows of cells as CSV."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
