"""The values of JSON objects as columns of text: a number is what it is written as, a string is what it says."""

import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import numpy as np
import polars as pl

from services.ingestor.parse import csv_scanner, json_scanner, raw_columns
from services.ingestor.parse.csv_scanner import Records
from services.ingestor.parse.raw_columns import Texts, Wrong
from services.ingestor.parse.row_errors import RowError, shown
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect

Row = dict[str, msgspec.Raw]

ROW = msgspec.json.Decoder(Row)
STRING = msgspec.json.Decoder(str)
STRINGS = msgspec.json.Decoder(list[str | None])
NULL = msgspec.Raw(b"null")
NO_PLAIN_WORD = re.compile(rb'["{\[]')
NOT_DECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def read(data: bytes, dataset: Dataset, dialect: Dialect) -> Texts:
    """Keys that begin with `_` are passed over. Of a key that occurs twice in an object, the last value counts."""
    found = json_scanner.find(data) if dialect.format == "json" else _lines(data)
    wrong = raw_columns.unreadable(data, found)
    rows: list[Row] = []
    numbers: list[int] = []
    known = set(dialect.fields)
    view = memoryview(data)
    for number, (start, stop) in enumerate(zip(found.starts.tolist(), found.stops.tolist(), strict=True)):
        if number in wrong:
            continue
        try:
            row = ROW.decode(view[start:stop])
        except NOT_DECODABLE:
            wrong[number] = [_refusal(data[start:stop])]
            continue
        if not row.keys() <= known and (unknown := list(_unknown(row, dataset, dialect))):
            wrong[number] = unknown
        rows.append(row)
        numbers.append(number)
    kinds = {field.name: field.type for field in dataset.fields}
    columns = {name: _column(name, kinds[name], rows, numbers, wrong) for name in dialect.fields}
    return Texts(found, np.array(numbers, np.intp), pl.DataFrame(columns, dict.fromkeys(columns, pl.String)), wrong)


def _lines(data: bytes) -> Records:
    """Those with more than blanks."""
    found = csv_scanner.find(data, None)
    some = np.frombuffer(data, np.uint8)[found.starts] > ord(" ")
    for number in np.flatnonzero(~some).tolist():
        some[number] = data[found.starts[number] : found.stops[number]].strip(json_scanner.SPACE) != b""
    return csv_scanner.only(found, some)


def _refusal(row: bytes) -> RowError:
    try:
        json_scanner.ANY.decode(row)
    except RecursionError:
        return RowError("invalid_json", "", None, "Expected JSON that is nested less deeply.")
    except msgspec.DecodeError as error:
        with suppress(*json_scanner.REFUSED):
            json_scanner.ANY.decode(json_scanner.without_surrogates(row))
            return RowError("encoding", "", None, "Expected characters, not halves of a surrogate pair like \\ud83d.")
        return RowError("invalid_json", "", None, f"Expected a JSON object: {error}.")
    return RowError("not_an_object", "", None, 'Expected a JSON object, like {"id": 1}.')


def _unknown(row: Row, dataset: Dataset, dialect: Dialect) -> Iterator[RowError]:
    generated = {field.name for field in dataset.fields if field.generated}
    for key in row:
        if key in dialect.fields or key.startswith("_"):
            continue
        detail = f"{shown(key)!r} is not a field of {dataset.name}."
        if key in generated:
            detail = f"Postgres numbers {key!r}, so a row must not bring it."
        yield RowError("unknown_field", shown(key), shown(bytes(row[key]).decode()), detail)


def _column(name: str, kind: str, rows: list[Row], numbers: list[int], wrong: Wrong) -> list[str | None]:
    """What rows have under this name. A value that is no text is None, and wrong."""
    raws = [row.get(name, NULL) for row in rows]
    joined = b",".join(raws)
    if not NO_PLAIN_WORD.search(joined):
        return [None if word == "null" else word for word in joined.decode().split(",")[: len(rows)]]
    try:
        column = STRINGS.decode(b"[" + joined + b"]")
    except NOT_DECODABLE:
        column = [_text(raw) for raw in raws]
        structured = {place for place, raw in enumerate(raws) if kind != "object" and bytes(raw)[:1] in (b"{", b"[")}
        for place in structured:
            detail = "Expected a single value, not a JSON object or array."
            wrong.setdefault(numbers[place], []).append(RowError("type", name, shown(column[place] or ""), detail))
            column[place] = None
    if b"\\u0000" in joined:
        for place, text in enumerate(column):
            if text is not None and "\0" in text:
                error = RowError("nul_byte", name, shown(text), "Expected text without NUL bytes.")
                wrong.setdefault(numbers[place], []).append(error)
                column[place] = None
    return column


def _text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    if text.startswith('"'):
        return STRING.decode(text)
    return None if text == "null" else text
