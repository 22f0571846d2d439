"""Whether the first record of a file fits the dataset: the header line of CSV, or the keys of a JSON object."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Literal

import msgspec

from shared.catalog import field_types
from shared.catalog.dataset import Dataset, Field
from shared.contracts.parts import Dialect

WINDOW = 64 << 10
"""Bytes in which the first record must end."""
BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""The usual ones, by the names that may be said for them."""
SHOWN = 60


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


def read(
    start: bytes,
    dataset: Dataset,
    *,
    delimiter: str,
    quote: str = '"',
    header: Literal["auto", "present", "absent"],
) -> Dialect:
    """How to read the CSV file that begins with `start`: all of it, or at least its first WINDOW bytes.

    Raises HeaderMismatch with code `header_mismatch`, `empty_file`, `bad_delimiter` or `bad_quote`.
    """
    if len(quote) != 1 or not quote.isascii() or quote in "\r\n\0":
        detail = f"{quote!r} can't stand around cells."
        raise HeaderMismatch(detail, code="bad_quote", hint="Use one ASCII character, like \" or '.")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in f"{quote}\r\n\0":
        detail = f"{delimiter!r} can't separate cells."
        raise HeaderMismatch(detail, code="bad_delimiter", hint="Use one ASCII character, like , or ; or a tab.")
    cells = _first_record(start, delimiter, quote)
    names = [_name(cell) for cell in cells]
    declared = [field.name for field in dataset.fields]
    if header == "present" or (header == "auto" and any(name in declared for name in names)):
        if errors := _misfits(cells, names, dataset):
            detail = f"The header line doesn't fit the dataset {dataset.name}; look at the columns {_listed(errors)}."
            hint = _other_delimiter(cells, delimiter) or "If the first line is data and no header, say header=absent."
            raise HeaderMismatch(detail, hint=hint, errors=errors)
        return Dialect(columns=tuple(names), header=True, delimiter=delimiter, quote=quote)
    fields = dataset.input_fields
    if len(cells) != len(fields):
        raise _no_header(cells, dataset, delimiter, header)
    if header == "auto" and not any(_parses(cell, field) for cell, field in zip(cells, fields, strict=True)):
        raise _no_header(cells, dataset, delimiter, header)
    columns = tuple(field.name for field in fields)
    return Dialect(columns=columns, header=False, delimiter=delimiter, quote=quote)


def read_json(start: bytes, dataset: Dataset, format: Literal["ndjson", "json"]) -> Dialect:  # noqa: A002
    """The same for lines of JSON objects, or for one JSON array of them. What rows lack is not judged here.

    Raises HeaderMismatch with code `header_mismatch`, `empty_file` or `not_json`.
    """
    data = start.removeprefix(BOM).lstrip(BLANKS)
    if not data and len(start) >= WINDOW:
        detail = f"There are only blanks in the first {WINDOW} bytes."
        raise HeaderMismatch(detail, code="not_json", hint="Remove the blanks at the beginning.")
    if not data:
        raise HeaderMismatch("The file has no rows.", code="empty_file", hint="Send at least one JSON object.")
    keys = (_keys_of_line if format == "ndjson" else _keys_of_element)(data, len(start) < WINDOW)
    fields = {field.name: field for field in dataset.fields}
    names = [key for key in keys if not key.startswith("_")]
    errors = [_generated(name) for name in names if name in fields and fields[name].generated]
    errors += [_unknown(name, place, dataset) for place, name in enumerate(names) if name not in fields]
    if errors:
        detail = f"The first row doesn't fit the dataset {dataset.name}; look at {_listed(errors)}."
        hint = "Send only declared fields; keys that begin with _ are passed over."
        raise HeaderMismatch(detail, hint=hint, errors=errors)
    columns = tuple(field.name for field in dataset.input_fields)
    return Dialect(columns=columns, header=False, format=format)


def _keys_of_line(data: bytes, whole: bool) -> list[str]:  # noqa: FBT001
    """Of the first line that is an object: a torn one may stand before it."""
    lines = data.split(b"\n")
    for line in lines if whole else lines[:-1]:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return list(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    if len(lines) == 1 and not whole and data.startswith(b"{"):
        return []  # A long row; it will be read, or refused, as one.
    hint = "Send one JSON object on each line."
    if data.startswith(b"["):
        hint = "It seems to be one JSON array: send it as application/json."
    detail = f"No line is a JSON object: {_shown(data)}"
    raise HeaderMismatch(detail, code="not_json", hint=hint)


def _keys_of_element(data: bytes, whole: bool) -> list[str]:  # noqa: FBT001
    """Of the array's first element; none if that is longer than the window."""
    if not data.startswith(b"["):
        hint = "Send one JSON array of objects."
        if rows := re.match(rb'\{(?:[^\[\]{}]|\{[^{}]*\})*?"([^"\\]*)"\s*:\s*\[\s*\{', data):
            hint = f"The rows seem to be those of {rows[1].decode(errors='replace')!r}: send that array alone."
        elif data.startswith(b"{"):
            hint = "If each line is a JSON object, send the file as application/x-ndjson."
        raise HeaderMismatch(f"The file is no JSON array: {_shown(data)}", code="not_json", hint=hint)
    element = data[1:].lstrip(BLANKS).decode(errors="ignore")
    if element.startswith("]"):
        return []
    try:
        first, _ = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(element)
    except (ValueError, RecursionError):
        first = {} if element.startswith("{") and not whole else None
    if not isinstance(first, dict):
        detail = f"The array doesn't begin with a JSON object: {_shown(data)}"
        raise HeaderMismatch(detail, code="not_json", hint="Send one JSON array of objects.")
    return list(first)


def _shown(data: bytes) -> str:
    return data.split(b"\n", 1)[0].decode(errors="replace").strip()[:SHOWN]


def _listed(errors: list[ColumnError]) -> str:
    return ", ".join(error.column for error in errors)


def _first_record(start: bytes, delimiter: str, quote: str) -> list[str]:
    """Its cells, unquoted."""
    data = re.sub(rb"\A(?:\r?\n)+", b"", start.removeprefix(BOM))
    cut_off = len(start) >= WINDOW
    if not data.strip(BLANKS):
        if not cut_off:
            detail = "The file has no rows."
            raise HeaderMismatch(detail, code="empty_file", hint="Send at least one line of cells.")
        detail = f"There are only blank lines in the first {WINDOW} bytes."
        raise HeaderMismatch(detail, hint="Remove the blank lines at the beginning.")
    mark, around = re.escape(delimiter), re.escape(quote)
    cell = rf"(?:{around}(?:[^{around}]++|{around * 2})*+{around}|[^{mark}{around}\n]*+)"
    record = re.match(rf"{cell}(?:{mark}{cell})*+(?:\r?(\n)|\r?\Z)".encode(), data)
    if cut_off and (b"\n" not in data or (record and not record[1])):
        detail = f"The first record doesn't end within {WINDOW} bytes."
        raise HeaderMismatch(detail, hint="Check that lines end with a newline and that quotes are closed.")
    if record is None:
        detail = f"The quotes of the first record are wrong: {_shown(data)}"
        hint = f"Put quotes around a whole cell only, and write a {quote} in it as {quote * 2}."
        raise HeaderMismatch(detail, hint=hint)
    try:
        text = record[0].removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        detail = "The first record is no text in UTF-8."
        raise HeaderMismatch(detail, hint="Save it as UTF-8, or say what it is, as encoding=latin-1.") from None
    return [_unquoted(cell, quote) for cell in re.findall(rf"(?:^|{mark})({cell})", text)]


def _unquoted(cell: str, quote: str) -> str:
    return cell[1:-1].replace(quote * 2, quote) if cell.startswith(quote) else cell


def _name(cell: str) -> str:
    """`First Name` and `first-name` are the column `first_name`."""
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _misfits(cells: list[str], names: list[str], dataset: Dataset) -> list[ColumnError]:
    declared = {field.name: field for field in dataset.fields}
    errors = []
    for position, (cell, name) in enumerate(zip(cells, names, strict=True)):
        if name.startswith("_"):
            continue
        if name not in declared:
            errors.append(_unknown(cell.strip(), position, dataset))
        elif declared[name].generated:
            errors.append(_generated(name))
        elif name in names[:position]:
            errors.append(ColumnError("duplicate_column", name, f"The column {name!r} occurs more than once."))
    errors += [
        ColumnError("missing_column", field.name, f"The required column {field.name!r} is missing.")
        for field in dataset.input_fields
        if field.required and field.default is None and field.name not in names
    ]
    if not errors and not any(name in declared for name in names):
        errors.append(ColumnError("missing_column", dataset.input_fields[0].name, "None of the columns is a field."))
    return errors


def _generated(name: str) -> ColumnError:
    return ColumnError("generated_column", name, f"Postgres numbers {name!r}, so a file must not bring it.")


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
    for name, other in DELIMITERS.items():
        if len(cells) == 1 and other != delimiter and other in cells[0]:
            return f"The cells seem to be separated by {other!r}: say delimiter={name}."
    return ""


def _parses(cell: str, field: Field) -> bool:
    return field.type != "string" and field_types.find(field.type).holds(cell.strip())
