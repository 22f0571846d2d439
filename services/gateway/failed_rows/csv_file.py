"""Failed rows as a CSV file that can be mended and imported again: the original columns, then `_line` and `_errors`.

What nobody touches is read again as it was. A row whose cells can't be told apart, or not without losing some, stands
as it was written in a single cell, and all others are empty: unless it is mended, it is refused again.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence

import msgspec

from services.gateway.http.responses import defused
from services.gateway.jobs.failed_rows import FailedRow
from shared.catalog.dataset import Dataset
from shared.contracts.failures import CUT_OFF, LONGEST_RAW, UNREADABLE
from shared.contracts.parts import Dialect

MARKS = ("_line", "_errors")
WHOLE = {*UNREADABLE, "row_length", "invalid_json", "not_an_object", "unknown_field"}
OBJECTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Sheet:
    """The file for the failed rows of one job. A `defused` one is to be read by a spreadsheet, not imported again."""

    def __init__(self, dataset: Dataset, dialect: Dialect, *, defuse: bool) -> None:
        fields = [dataset.field(name) for name in dialect.fields]
        mark, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
        cell = rf"(?:{quote}((?:[^{quote}]++|{quote}{quote})*+){quote}|([^{mark}{quote}\n]*+))"
        self._record = re.compile(rf"{cell}(?:{mark}{cell})*+")
        self._cells = re.compile(rf"(?:^|{mark}){cell}")
        self._dialect = dialect
        self._defuse = defuse
        # Where it does not hide that a required field is missing.
        self._place = next((n for n, f in enumerate(fields) if not f.required or f.default is not None), 0)

    def header(self) -> bytes:
        """The first line."""
        return _written([[*self._dialect.fields, *MARKS]])

    def lines(self, rows: Iterable[FailedRow]) -> bytes:
        """A record for each row."""
        return _written(self._line(row) for row in rows)

    def _line(self, row: FailedRow) -> list[str | int]:
        reasons = [f"{error['column'] or 'row'}: {error['detail']}" for error in row.errors]
        cells = None
        if len(row.raw.encode()) >= CUT_OFF:
            reasons.append(f"row: Only its first {LONGEST_RAW} bytes are kept.")
        elif not WHOLE.intersection(error["code"] for error in row.errors):
            cells = self._of_csv(row.raw) if self._dialect.format == "csv" else self._of_json(row.raw)
        if cells is None:
            cells = [""] * len(self._dialect.fields)
            cells[self._place] = row.raw
        if self._defuse:
            cells = [defused(cell) for cell in cells]
        return [*cells, row.line, "; ".join(reasons)]

    def _of_csv(self, raw: str) -> list[str] | None:
        columns, quote = self._dialect.columns, self._dialect.quote
        if not self._record.fullmatch(raw):
            return None
        cells = [quoted.replace(quote * 2, quote) or plain for quoted, plain in self._cells.findall(raw)]
        if len(cells) != len(columns):
            return None
        return [cell for cell, name in zip(cells, columns, strict=True) if not name.startswith("_")]

    def _of_json(self, raw: str) -> list[str] | None:
        try:
            values = OBJECTS.decode(raw)
            return [_text(values[name]) if name in values else "" for name in self._dialect.fields]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None


def _text(value: msgspec.Raw) -> str:
    """A string as it is, null as nothing, anything else as it was written."""
    text = bytes(value).decode()
    if text.startswith('"'):
        return msgspec.json.decode(text, type=str)
    return "" if text == "null" else text


def _written(rows: Iterable[Sequence[str | int]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
