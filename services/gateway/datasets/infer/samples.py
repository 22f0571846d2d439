"""Reads the rows of a sample, the beginning of a file. Pure.

Skips every row that the ingestor would refuse to read.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from services.gateway.datasets.infer.column_types import JsonNumber
from shared.catalog import field_types
from shared.catalog.dataset_mistakes import MOST_FIELDS
from shared.contracts.parts import Format

BOM = "\ufeff"
DELIMITERS = ("\t", ";", "|", ",")
"""The comma is last: numbers and text contain it as well."""
PROBED_RECORDS = 200
"""The number of records from which delimiter and header are detected."""
MAX_NAME_LENGTH = 63
IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
DECODER = msgspec.json.Decoder(float_hook=JsonNumber)


class UnreadableSample(Exception):
    """The sample has no rows that can be read; `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Sample(NamedTuple):
    """Column names as in the file, and rows with one value per column, None if it is missing.

    `flawed` counts rows that could not be read. For CSV, `guessed` says that nothing proves whether the first line is a
    header. JSON has neither header nor delimiter.
    """

    names: list[str]
    rows: list[list[Any]]
    flawed: int
    header: Literal["present", "absent", ""] = ""
    delimiter: str = ""
    guessed: bool = False


def read(data: bytes, form: Format, delimiter: str | None, header: Literal["auto", "present", "absent"]) -> Sample:
    """Reads a sample in UTF-8. Raises UnreadableSample."""
    text = data.decode(errors="surrogateescape").removeprefix(BOM)
    if not text.strip():
        raise UnreadableSample("empty_file", "The sample has no rows.")
    return _read_csv(text, delimiter, header) if form == "csv" else _read_json(text, form)


def _read_csv(text: str, delimiter: str | None, header: Literal["auto", "present", "absent"]) -> Sample:
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise UnreadableSample("bad_delimiter", f"{delimiter!r} can't be a delimiter.")
    character = delimiter or _detect_delimiter(text)
    records = list(_records(text, character))
    readable = [record for record in records if record]
    if not readable:
        raise UnreadableSample("no_rows", "No line of the sample can be read as CSV.")
    width = len(readable[0])
    _check_width(width)
    rows = [record for record in readable if len(record) == width]
    detected, certain = _detect_header(rows) if header == "auto" else (header, True)
    names = rows[0] if detected == "present" else [f"column {number}" for number in range(1, width + 1)]
    # Like the ingestor, reads a cell with only carriage returns as missing.
    values: list[list[Any]] = [
        [cell if cell.strip("\r") else None for cell in row] for row in rows[detected == "present" :]
    ]
    return Sample(names, values, len(records) - len(rows), detected, character, guessed=not certain)


def _check_width(width: int) -> None:
    if width > MOST_FIELDS:
        raise UnreadableSample(
            "too_many_columns", f"The sample has {width} columns, at most {MOST_FIELDS} can be declared."
        )


def _records(text: str, delimiter: str) -> Iterator[list[str] | None]:
    """Yields the cells of each record that is not blank; None for a line with bad quotes or characters."""
    mark = re.escape(delimiter)
    pattern = rf'(?:"(?:[^"]++|"")*+"|[^{mark}"\n]*+)'
    record, cells = re.compile(rf"{pattern}(?:{mark}{pattern})*+\r?(?:\n|\Z)"), re.compile(rf"(?:^|{mark})({pattern})")
    place = 0
    while place < len(text):
        match = record.match(text, place)
        if match is None:
            place = text.find("\n", place) + 1 or len(text)
            yield None
            continue
        place = match.end()
        if line := match[0].removesuffix("\n").removesuffix("\r"):
            broken = "\0" in line or re.search("[\udc80-\udcff]", line)
            yield None if broken else [_unquote(cell) for cell in cells.findall(line)]


def _unquote(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _detect_delimiter(text: str) -> str:
    """Returns the delimiter with which most records have as many cells as the first one, and more than one."""
    shares: dict[str, float] = {",": 0.0}
    for mark in DELIMITERS:
        widths = [len(cells) for cells in islice(_records(text, mark), PROBED_RECORDS) if cells]
        if widths and widths[0] > 1:
            shares[mark] = round(Counter(widths)[widths[0]] / len(widths), 1)
    return max(DELIMITERS, key=lambda mark: shares.get(mark, -1.0))


def _detect_header(rows: Sequence[Sequence[str]]) -> tuple[Literal["present", "absent"], bool]:
    """Returns whether the first row is a header, and whether that is certain."""
    typed = [field_types.find("integer"), field_types.find("number"), *field_types.distinct()]
    first, others = rows[0], rows[1:PROBED_RECORDS]
    for name, column in zip(first, zip(*others, strict=True), strict=False):
        values = [value.strip(" ") for value in column if value]
        for field_type in typed if values else ():
            if all(map(field_type.holds, values)) and not field_type.holds(name.strip(" ")):
                return "present", True
        identifiers = sum(bool(IDENTIFIER.fullmatch(value)) for value in values)
        if IDENTIFIER.fullmatch(name) and 2 * identifiers < len(values):
            return "present", True
    if any(field_type.holds(cell.strip(" ")) for field_type in typed for cell in first):
        return "absent", True
    name_like = all(cell.strip() and len(cell) <= MAX_NAME_LENGTH for cell in first) and len(set(first)) == len(first)
    repeated = any(name in column for name, column in zip(first, zip(*others, strict=True), strict=False))
    return ("present" if name_like and not repeated else "absent"), False


def _read_json(text: str, form: Format) -> Sample:
    records = list(_objects(text, form))
    objects = [record for record in records if record is not None]
    names = list(dict.fromkeys(name for record in objects for name in record))
    if records and not names:
        raise UnreadableSample("not_json", "The sample has no JSON objects with keys.")
    _check_width(len(names))
    rows = [[record.get(name) for name in names] for record in objects]
    return Sample(names, rows, len(records) - len(objects))


def _objects(text: str, form: Format) -> Iterator[dict[str, Any] | None]:
    """Yields the object of each row; None for a row that can't be read."""
    if form == "ndjson":
        for line in text.split("\n"):
            if line.strip():
                yield _read_line(line)
        return
    try:
        elements = DECODER.decode(text.encode(errors="surrogateescape"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableSample("not_json", f"The sample is not JSON: {error}") from error
    if not isinstance(elements, list):
        raise UnreadableSample("not_json", "The sample is not a JSON array of objects.")
    for element in elements:
        yield _to_row(element)


def _read_line(line: str) -> dict[str, Any] | None:
    try:
        return _to_row(DECODER.decode(line.encode(errors="surrogateescape")))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _to_row(value: Any) -> dict[str, Any] | None:
    """Returns an object, or None for other values, and for text with a NUL, which Postgres does not accept."""
    return value if isinstance(value, dict) and not _has_nul(value) else None


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
        case list():
            return any(map(_has_nul, value))
    return False
