"""Reads JSON objects as columns of text: numbers as they are written, strings decoded."""

import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import numpy as np
import polars as pl

from services.ingestor.parse import csv_scanner, json_scanner, raw_columns
from services.ingestor.parse.csv_scanner import Records
from services.ingestor.parse.raw_columns import Errors, RawColumns
from services.ingestor.parse.row_errors import RowError, shorten
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect

Row = dict[str, msgspec.Raw]

ROW = msgspec.json.Decoder(Row)
STRING = msgspec.json.Decoder(str)
STRINGS = msgspec.json.Decoder(list[str | None])
NULL = msgspec.Raw(b"null")
QUOTED_OR_NESTED = re.compile(rb'["{\[]')
DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


def read(data: bytes, dataset: Dataset, dialect: Dialect) -> RawColumns:
    """Returns the columns of the dialect. Ignores keys that begin with `_`; takes the last value of a repeated key."""
    records = json_scanner.find_elements(data) if dialect.format == "json" else _read_lines(data)
    errors = raw_columns.find_unreadable(data, records)
    rows: list[Row] = []
    numbers: list[int] = []
    known = set(dialect.fields)
    view = memoryview(data)
    for number, (start, stop) in enumerate(zip(records.starts.tolist(), records.stops.tolist(), strict=True)):
        if number in errors:
            continue
        try:
            row = ROW.decode(view[start:stop])
        except DECODE_ERRORS:
            errors[number] = [_to_error(data[start:stop])]
            continue
        if not row.keys() <= known and (unknown := list(_unknown_errors(row, dataset, dialect))):
            errors[number] = unknown
        rows.append(row)
        numbers.append(number)
    types = {field.name: field.type for field in dataset.fields}
    columns = {name: _read_column(name, types[name], rows, numbers, errors) for name in dialect.fields}
    return RawColumns(
        records, np.array(numbers, np.intp), pl.DataFrame(columns, dict.fromkeys(columns, pl.String)), errors
    )


def _read_lines(data: bytes) -> Records:
    """Returns the lines that contain more than blanks."""
    records = csv_scanner.find_records(data, None)
    kept = np.frombuffer(data, np.uint8)[records.starts] > ord(" ")
    for number in np.flatnonzero(~kept).tolist():
        kept[number] = data[records.starts[number] : records.stops[number]].strip(json_scanner.SPACE) != b""
    return csv_scanner.keep_records(records, kept)


def _to_error(row: bytes) -> RowError:
    try:
        json_scanner.ANY.decode(row)
    except RecursionError:
        return RowError("invalid_json", "", None, "Expected JSON that is nested less deeply.")
    except msgspec.DecodeError as error:
        with suppress(*json_scanner.REFUSED):
            json_scanner.ANY.decode(json_scanner.replace_surrogates(row))
            return RowError("encoding", "", None, "Expected characters, not halves of a surrogate pair like \\ud83d.")
        return RowError("invalid_json", "", None, f"Expected a JSON object: {error}.")
    return RowError("not_an_object", "", None, 'Expected a JSON object, like {"id": 1}.')


def _unknown_errors(row: Row, dataset: Dataset, dialect: Dialect) -> Iterator[RowError]:
    generated = {field.name for field in dataset.fields if field.generated}
    for key in row:
        if key in dialect.fields or key.startswith("_"):
            continue
        detail = f"{shorten(key)!r} is not a field of {dataset.name}."
        if key in generated:
            detail = f"Postgres numbers {key!r}, so a row must not contain it."
        yield RowError("unknown_field", shorten(key), shorten(bytes(row[key]).decode()), detail)


def _read_column(name: str, type_name: str, rows: list[Row], numbers: list[int], errors: Errors) -> list[str | None]:
    """Returns the values of a key. A value that can't be text is None, and gets an error."""
    raws = [row.get(name, NULL) for row in rows]
    joined = b",".join(raws)
    if not QUOTED_OR_NESTED.search(joined):
        return [None if word == "null" else word for word in joined.decode().split(",")[: len(rows)]]
    try:
        column = STRINGS.decode(b"[" + joined + b"]")
    except DECODE_ERRORS:
        column = [_to_text(raw) for raw in raws]
        structured = {
            place for place, raw in enumerate(raws) if type_name != "object" and bytes(raw)[:1] in (b"{", b"[")
        }
        for place in structured:
            detail = "Expected a single value, not a JSON object or array."
            errors.setdefault(numbers[place], []).append(RowError("type", name, shorten(column[place] or ""), detail))
            column[place] = None
    if b"\\u0000" in joined:
        for place, text in enumerate(column):
            if text is not None and "\0" in text:
                error = RowError("nul_byte", name, shorten(text), "Expected text without NUL bytes.")
                errors.setdefault(numbers[place], []).append(error)
                column[place] = None
    return column


def _to_text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    if text.startswith('"'):
        return STRING.decode(text)
    return None if text == "null" else text
