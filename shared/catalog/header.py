"""Detects the dialect of a file from its first record: the header of CSV, or the keys of a JSON object."""

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
"""Bytes within which the first record must end."""
BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Names of the usual delimiters, as the parameter `delimiter` accepts them."""
LONGEST_EXCERPT = 60


class ColumnError(msgspec.Struct, frozen=True):
    """An error in one column of the header."""

    code: str
    column: str
    detail: str


class HeaderMismatch(Exception):
    """The first record does not match the dataset."""

    def __init__(
        self, detail: str, *, hint: str, code: str = "header_mismatch", errors: Sequence[ColumnError] = ()
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = list(errors)


def detect_csv(
    start: bytes,
    dataset: Dataset,
    *,
    delimiter: str,
    quote: str = '"',
    header: Literal["auto", "present", "absent"],
) -> Dialect:
    """Returns the dialect of the CSV file that begins with `start`, which has WINDOW bytes or is the whole file.

    Raises HeaderMismatch with code `header_mismatch`, `empty_file`, `bad_delimiter` or `bad_quote`.
    """
    if len(quote) != 1 or not quote.isascii() or quote in "\r\n\0":
        detail = f"{quote!r} can't be the quote."
        raise HeaderMismatch(detail, code="bad_quote", hint="Use one ASCII character, like \" or '.")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in f"{quote}\r\n\0":
        detail = f"{delimiter!r} can't be the delimiter."
        raise HeaderMismatch(detail, code="bad_delimiter", hint="Use one ASCII character, like , or ; or a tab.")
    cells = _first_record(start, delimiter, quote)
    names = [_name(cell) for cell in cells]
    declared = [field.name for field in dataset.fields]
    if header == "present" or (header == "auto" and any(name in declared for name in names)):
        if errors := _check_columns(cells, names, dataset):
            detail = f"The header does not match the dataset {dataset.name}; check the columns {_list_columns(errors)}."
            hint = _other_delimiter(cells, delimiter) or "If the first line is a row, use header=absent."
            raise HeaderMismatch(detail, hint=hint, errors=errors)
        return Dialect(columns=tuple(names), header=True, delimiter=delimiter, quote=quote)
    fields = dataset.input_fields
    if len(cells) != len(fields):
        raise _no_header_error(cells, dataset, delimiter, header)
    if header == "auto" and not any(_parses(cell, field) for cell, field in zip(cells, fields, strict=True)):
        raise _no_header_error(cells, dataset, delimiter, header)
    columns = tuple(field.name for field in fields)
    return Dialect(columns=columns, header=False, delimiter=delimiter, quote=quote)


def detect_json(start: bytes, dataset: Dataset, format: Literal["ndjson", "json"]) -> Dialect:  # noqa: A002
    """Returns the dialect of a file of JSON lines, or of one JSON array. Missing fields are not checked.

    Raises HeaderMismatch with code `header_mismatch`, `empty_file` or `not_json`.
    """
    data = start.removeprefix(BOM).lstrip(BLANKS)
    if not data and len(start) >= WINDOW:
        detail = f"The first {WINDOW} bytes contain only whitespace."
        raise HeaderMismatch(detail, code="not_json", hint="Remove the whitespace at the beginning.")
    if not data:
        raise HeaderMismatch("The file has no rows.", code="empty_file", hint="Send at least one JSON object.")
    keys = (_keys_of_line if format == "ndjson" else _keys_of_element)(data, len(start) < WINDOW)
    fields = {field.name: field for field in dataset.fields}
    names = [key for key in keys if not key.startswith("_")]
    errors = [_generated_error(name) for name in names if name in fields and fields[name].generated]
    errors += [_unknown_error(name, position, dataset) for position, name in enumerate(names) if name not in fields]
    if errors:
        detail = f"The first row does not match the dataset {dataset.name}; check {_list_columns(errors)}."
        hint = "Send only declared fields; keys that begin with _ are ignored."
        raise HeaderMismatch(detail, hint=hint, errors=errors)
    columns = tuple(field.name for field in dataset.input_fields)
    return Dialect(columns=columns, header=False, format=format)


def _keys_of_line(data: bytes, whole: bool) -> list[str]:  # noqa: FBT001
    """Returns the keys of the first line that is an object: an invalid one may precede it."""
    lines = data.split(b"\n")
    for line in lines if whole else lines[:-1]:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return list(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    if len(lines) == 1 and not whole and data.startswith(b"{"):
        return []  # a long row, which the ingestor checks
    hint = "Send one JSON object on each line."
    if data.startswith(b"["):
        hint = "It seems to be one JSON array: send it as application/json."
    detail = f"No line is a JSON object: {_excerpt(data)}"
    raise HeaderMismatch(detail, code="not_json", hint=hint)


def _keys_of_element(data: bytes, whole: bool) -> list[str]:  # noqa: FBT001
    """Returns the keys of the array's first element; none if the element is longer than the window."""
    if not data.startswith(b"["):
        hint = "Send one JSON array of objects."
        if rows := re.match(rb'\{(?:[^\[\]{}]|\{[^{}]*\})*?"([^"\\]*)"\s*:\s*\[\s*\{', data):
            hint = f"The rows seem to be in {rows[1].decode(errors='replace')!r}: send only that array."
        elif data.startswith(b"{"):
            hint = "If each line is a JSON object, send the file as application/x-ndjson."
        raise HeaderMismatch(f"The file is not a JSON array: {_excerpt(data)}", code="not_json", hint=hint)
    element = data[1:].lstrip(BLANKS).decode(errors="ignore")
    if element.startswith("]"):
        return []
    try:
        first, _ = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(element)
    except (ValueError, RecursionError):
        first = {} if element.startswith("{") and not whole else None
    if not isinstance(first, dict):
        detail = f"The array does not begin with a JSON object: {_excerpt(data)}"
        raise HeaderMismatch(detail, code="not_json", hint="Send one JSON array of objects.")
    return list(first)


def _excerpt(data: bytes) -> str:
    return data.split(b"\n", 1)[0].decode(errors="replace").strip()[:LONGEST_EXCERPT]


def _list_columns(errors: list[ColumnError]) -> str:
    return ", ".join(error.column for error in errors)


def _first_record(start: bytes, delimiter: str, quote: str) -> list[str]:
    """Returns the unquoted cells of the first record."""
    data = re.sub(rb"\A(?:\r?\n)+", b"", start.removeprefix(BOM))
    truncated = len(start) >= WINDOW
    if not data.strip(BLANKS):
        if not truncated:
            detail = "The file has no rows."
            raise HeaderMismatch(detail, code="empty_file", hint="Send at least one line of cells.")
        detail = f"The first {WINDOW} bytes contain only blank lines."
        raise HeaderMismatch(detail, hint="Remove the blank lines at the beginning.")
    separator, mark = re.escape(delimiter), re.escape(quote)
    cell = rf"(?:{mark}(?:[^{mark}]++|{mark * 2})*+{mark}|[^{separator}{mark}\n]*+)"
    record = re.match(rf"{cell}(?:{separator}{cell})*+(?:\r?(\n)|\r?\Z)".encode(), data)
    if truncated and (b"\n" not in data or (record and not record[1])):
        detail = f"The first record does not end within {WINDOW} bytes."
        raise HeaderMismatch(detail, hint="Check that lines end with a newline and that quotes are closed.")
    if record is None:
        detail = f"The quotes of the first record are wrong: {_excerpt(data)}"
        hint = f"Quote whole cells only, and write a {quote} in it as {quote * 2}."
        raise HeaderMismatch(detail, hint=hint)
    try:
        text = record[0].removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        detail = "The first record is not valid UTF-8."
        raise HeaderMismatch(detail, hint="Save it as UTF-8, or name its encoding, like encoding=latin-1.") from None
    return [_unquoted(cell, quote) for cell in re.findall(rf"(?:^|{separator})({cell})", text)]


def _unquoted(cell: str, quote: str) -> str:
    return cell[1:-1].replace(quote * 2, quote) if cell.startswith(quote) else cell


def _name(cell: str) -> str:
    """Returns the column name: `first_name` for `First Name` and `first-name`."""
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _check_columns(cells: list[str], names: list[str], dataset: Dataset) -> list[ColumnError]:
    declared = {field.name: field for field in dataset.fields}
    errors = []
    for position, (cell, name) in enumerate(zip(cells, names, strict=True)):
        if name.startswith("_"):
            continue
        if name not in declared:
            errors.append(_unknown_error(cell.strip(), position, dataset))
        elif declared[name].generated:
            errors.append(_generated_error(name))
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


def _generated_error(name: str) -> ColumnError:
    return ColumnError("generated_column", name, f"Postgres generates {name!r}, so input must not contain it.")


def _unknown_error(cell: str, position: int, dataset: Dataset) -> ColumnError:
    if not cell:
        return ColumnError("unknown_column", cell, f"Column {position + 1} has no name.")
    near = get_close_matches(_name(cell), [field.name for field in dataset.input_fields], 1)
    suggestion = f"; did you mean {near[0]!r}?" if near else "."
    return ColumnError("unknown_column", cell, f"{cell[:LONGEST_EXCERPT]!r} is not a field{suggestion}")


def _no_header_error(cells: list[str], dataset: Dataset, delimiter: str, header: str) -> HeaderMismatch:
    fields = dataset.input_fields
    actual = ", ".join(cell[:LONGEST_EXCERPT] for cell in cells)
    expected = ", ".join(field.name for field in fields)
    if header == "absent" or len(cells) != len(fields):
        detail = f"The first line has {len(cells)} columns ({actual}); a file without a header needs {len(fields)}"
    else:
        detail = f"The first line ({actual}) is neither a header nor a row; expected columns:"
    hint = "Use header=present if the first line is a header; a file without a header must have all columns."
    if len(cells) == len(fields):
        hint = "Use header=present if the first line is a header, header=absent if it is a row."
    return HeaderMismatch(f"{detail} ({expected}).", hint=_other_delimiter(cells, delimiter) or hint)


def _other_delimiter(cells: list[str], delimiter: str) -> str:
    """Returns a hint if the line seems to have another delimiter."""
    for name, other in DELIMITERS.items():
        if len(cells) == 1 and other != delimiter and other in cells[0]:
            return f"The delimiter seems to be {other!r}: use delimiter={name}."
    return ""


def _parses(cell: str, field: Field) -> bool:
    return field.type != "string" and field_types.find(field.type).holds(cell.strip())
