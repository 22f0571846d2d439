"""Failed rows as a CSV file to fix and import again: the original columns, then `_line` and `_errors`.

An unchanged cell is imported with its original value. A row that can't be split into cells, or not without losing some,
is written whole into one cell, and its other cells are empty: imported unchanged, it fails again.
"""

import re
from collections.abc import Iterable

import msgspec

from services.gateway.http.formats import csv_lines
from services.gateway.http.responses import escape_formula
from shared.catalog.dataset import Dataset
from shared.contracts.failures import CUT_OFF, LONGEST_RAW, UNREADABLE
from shared.contracts.parts import Dialect
from shared.reads.ingestor.failed_rows import FailedRow

EXTRA_COLUMNS = ("_line", "_errors")
UNSPLIT_CODES = {*UNREADABLE, "row_length", "invalid_json", "not_an_object", "unknown_field"}
OBJECTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FailedRowsCsv:
    """Writes the failed rows of one job. A `spreadsheet_safe` file escapes formulas; do not import it again."""

    def __init__(self, dataset: Dataset, dialect: Dialect, *, spreadsheet_safe: bool) -> None:
        fields = [dataset.field(name) for name in dialect.fields]
        delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
        cell = rf"(?:{quote}((?:[^{quote}]++|{quote}{quote})*+){quote}|([^{delimiter}{quote}\n]*+))"
        self._record = re.compile(rf"{cell}(?:{delimiter}{cell})*+")
        self._cells = re.compile(rf"(?:^|{delimiter}){cell}")
        self._dialect = dialect
        self._spreadsheet_safe = spreadsheet_safe
        # An optional field if there is one, so that the row fails again for its missing required fields.
        self._whole_row_index = next((n for n, f in enumerate(fields) if not f.required or f.default is not None), 0)

    def header(self) -> bytes:
        """Returns the first line."""
        return csv_lines([[*self._dialect.fields, *EXTRA_COLUMNS]])

    def encode(self, rows: Iterable[FailedRow]) -> bytes:
        """Returns a record for each row."""
        return csv_lines(self._record_of(row) for row in rows)

    def _record_of(self, row: FailedRow) -> list[str | int]:
        reasons = [f"{error['column'] or 'row'}: {error['detail']}" for error in row.errors]
        cells = None
        if len(row.raw.encode()) >= CUT_OFF:
            reasons.append(f"row: Only its first {LONGEST_RAW} bytes are stored.")
        elif not UNSPLIT_CODES.intersection(error["code"] for error in row.errors):
            cells = self._split_csv(row.raw) if self._dialect.format == "csv" else self._split_json(row.raw)
        if cells is None:
            cells = [""] * len(self._dialect.fields)
            cells[self._whole_row_index] = row.raw
        if self._spreadsheet_safe:
            cells = [escape_formula(cell) for cell in cells]
        return [*cells, row.line, "; ".join(reasons)]

    def _split_csv(self, raw: str) -> list[str] | None:
        columns, quote = self._dialect.columns, self._dialect.quote
        if not self._record.fullmatch(raw):
            return None
        cells = [quoted.replace(quote * 2, quote) or plain for quoted, plain in self._cells.findall(raw)]
        if len(cells) != len(columns):
            return None
        return [cell for cell, name in zip(cells, columns, strict=True) if not name.startswith("_")]

    def _split_json(self, raw: str) -> list[str] | None:
        try:
            values = OBJECTS.decode(raw)
            return [_cell(values[name]) if name in values else "" for name in self._dialect.fields]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None


def _cell(value: msgspec.Raw) -> str:
    """Returns a string decoded, null as an empty cell, and other values as they are in the JSON."""
    text = bytes(value).decode()
    if text.startswith('"'):
        return msgspec.json.decode(text, type=str)
    return "" if text == "null" else text
