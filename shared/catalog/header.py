"""Whether the first record of a CSV file names its columns, and whether they fit the dataset."""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Literal
from uuid import UUID

import msgspec

from shared.catalog import kinds
from shared.catalog.dataset import Dataset, Field
from shared.contracts.parts import Dialect

WINDOW = 64 << 10
"""Bytes in which the first record must end."""
BOM = b"\xef\xbb\xbf"
DELIMITERS = {",": "%2C", ";": "%3B", "\t": "%09", "|": "%7C"}
"""The usual ones, as they are written in a query string."""
SHOWN = 60

PARSERS: dict[str, Callable[[str], object]] = {
    "integer": int,
    "number": float,
    "decimal": float,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "time": time.fromisoformat,
    "uuid": UUID,
    "object": msgspec.json.decode,
}
"""Good enough to tell data from names; only the ingestor decides what is valid."""


class ColumnError(msgspec.Struct, frozen=True):
    """What is wrong with one column of the header."""

    code: str
    column: str
    detail: str


class HeaderMismatch(Exception):
    """The file can't be read as rows of the dataset."""

    def __init__(
        self, detail: str, *, hint: str, code: str = "header_mismatch", errors: Sequence[ColumnError] = ()
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = list(errors)


def read(start: bytes, dataset: Dataset, *, delimiter: str, header: Literal["auto", "present", "absent"]) -> Dialect:
    """How to read the file that begins with `start`: all of it, or at least its first WINDOW bytes.

    Raises HeaderMismatch with code `header_mismatch`, `empty_file` or `bad_delimiter`.
    """
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        detail = f"{delimiter!r} can't separate cells."
        raise HeaderMismatch(detail, code="bad_delimiter", hint="Use one ASCII character, like , or ; or a tab.")
    cells = _first_record(start, delimiter)
    names = [_name(cell) for cell in cells]
    declared = [field.name for field in dataset.fields]
    if header == "present" or (header == "auto" and any(name in declared for name in names)):
        if errors := _misfits(cells, names, dataset):
            columns = ", ".join(error.column for error in errors)
            detail = f"The header line doesn't fit the dataset {dataset.name}; look at the columns {columns}."
            hint = _other_delimiter(cells, delimiter) or "If the first line is data and no header, say header=absent."
            raise HeaderMismatch(detail, hint=hint, errors=errors)
        return Dialect(columns=tuple(names), header=True, delimiter=delimiter)
    fields = dataset.input_fields
    if len(cells) != len(fields):
        raise _no_header(cells, dataset, delimiter, header)
    if header == "auto" and not any(_parses(cell, field) for cell, field in zip(cells, fields, strict=True)):
        raise _no_header(cells, dataset, delimiter, header)
    return Dialect(columns=tuple(field.name for field in fields), header=False, delimiter=delimiter)


def _first_record(start: bytes, delimiter: str) -> list[str]:
    """Its cells, unquoted."""
    data = re.sub(rb"\A(?:\r?\n)+", b"", start.removeprefix(BOM))
    cut_off = len(start) >= WINDOW
    if not data.strip(b" \t\r\n"):
        if not cut_off:
            detail = "The file has no rows."
            raise HeaderMismatch(detail, code="empty_file", hint="Send at least one line of cells.")
        detail = f"There are only blank lines in the first {WINDOW} bytes."
        raise HeaderMismatch(detail, hint="Remove the blank lines at the beginning.")
    mark = re.escape(delimiter)
    cell = rf'(?:"(?:[^"]++|"")*+"|[^{mark}"\n]*+)'
    record = re.match(rf"{cell}(?:{mark}{cell})*+(?:\r?(\n)|\r?\Z)".encode(), data)
    if cut_off and (b"\n" not in data or (record and not record[1])):
        detail = f"The first record doesn't end within {WINDOW} bytes."
        raise HeaderMismatch(detail, hint="Check that lines end with a newline and that quotes are closed.")
    if record is None:
        line = data.split(b"\n", 1)[0].decode(errors="replace").strip()
        detail = f"The quotes of the first record are wrong: {line[:SHOWN]}"
        raise HeaderMismatch(detail, hint='Put quotes around a whole cell only, and write a " in it as "".')
    try:
        text = record[0].removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        detail = "The first record is no text in UTF-8."
        raise HeaderMismatch(detail, hint="Save the file as UTF-8 and send it again.") from None
    return [_unquoted(cell) for cell in re.findall(rf"(?:^|{mark})({cell})", text)]


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _name(cell: str) -> str:
    """`First Name` and `first-name` are the column `first_name`."""
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _misfits(cells: list[str], names: list[str], dataset: Dataset) -> list[ColumnError]:
    declared = {field.name: field for field in dataset.fields}
    errors = []
    for position, (cell, name) in enumerate(zip(cells, names, strict=True)):
        if name not in declared:
            errors.append(_unknown(cell.strip(), position, dataset))
        elif declared[name].generated:
            detail = f"Postgres numbers {name!r}, so a file must not bring it."
            errors.append(ColumnError("generated_column", name, detail))
        elif name in names[:position]:
            errors.append(ColumnError("duplicate_column", name, f"The column {name!r} occurs more than once."))
    errors += [
        ColumnError("missing_column", field.name, f"The required column {field.name!r} is missing.")
        for field in dataset.input_fields
        if field.required and field.default is None and field.name not in names
    ]
    return errors


def _unknown(cell: str, position: int, dataset: Dataset) -> ColumnError:
    if not cell:
        return ColumnError("unknown_column", cell, f"Column {position + 1} has no name.")
    near = get_close_matches(_name(cell), [field.name for field in dataset.input_fields], 1)
    question = f"; did you mean {near[0]!r}?" if near else "."
    return ColumnError("unknown_column", cell, f"{cell[:SHOWN]!r} is not a field{question}")


def _no_header(cells: list[str], dataset: Dataset, delimiter: str, header: str) -> HeaderMismatch:
    fields = dataset.input_fields
    found = ", ".join(cell[:SHOWN] for cell in cells)
    expected = ", ".join(field.name for field in fields)
    if header == "absent" or len(cells) != len(fields):
        detail = f"The first line has {len(cells)} columns ({found}), without a header {len(fields)} are expected"
    else:
        detail = f"The first line ({found}) neither names fields nor looks like a row: expected are"
    hint = "Say header=present if the first line names the columns; a file without a header must bring all of them."
    if len(cells) == len(fields):
        hint = "Say header=present if the first line names the columns, header=absent if it is a row."
    return HeaderMismatch(f"{detail} ({expected}).", hint=_other_delimiter(cells, delimiter) or hint)


def _other_delimiter(cells: list[str], delimiter: str) -> str:
    """A hint if the line seems to be separated by something else."""
    for other, written in DELIMITERS.items():
        if len(cells) == 1 and other != delimiter and other in cells[0]:
            return f"The cells seem to be separated by {other!r}: say delimiter={written}."
    return ""


def _parses(cell: str, field: Field) -> bool:
    kind = kinds.base(field.type)
    if kind == "boolean":
        return cell.strip().lower() in ("true", "false", "t", "f", "yes", "no", "y", "n", "0", "1")
    if kind not in PARSERS:
        return False
    try:
        PARSERS[kind](cell.strip())
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return False
    return True
