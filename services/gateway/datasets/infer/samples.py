"""The beginning of a file as rows, to learn from. Pure.

What keeps the ingestor from reading a row keeps it out of here too.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from services.gateway.datasets.infer.column_types import Written
from shared.catalog import literals
from shared.catalog.dataset_mistakes import MOST_FIELDS
from shared.contracts.parts import Format

BOM = "\ufeff"
DELIMITERS = ("\t", ";", "|", ",")
"""Commas come last: they stand in numbers and texts as well."""
LOOKED_AT = 200
"""Records that tell the delimiter, and whether there is a header."""
LONGEST_NAME = 63
IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
TYPED = ("integer", "number", "date", "datetime", "time", "uuid")
DECODER = msgspec.json.Decoder(float_hook=Written)


class Unreadable(Exception):
    """There is nothing to learn from: `code` and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Sample(NamedTuple):
    """The names as the file has them, and for each a value per row, None where there is none.

    `flawed` rows could not be read. Of CSV, the header is `guessed` if nothing proves that the first line is one; JSON
    has neither header nor delimiter.
    """

    names: list[str]
    rows: list[list[Any]]
    flawed: int
    header: Literal["present", "absent", ""] = ""
    delimiter: str = ""
    guessed: bool = False


def read(data: bytes, form: Format, delimiter: str | None, header: Literal["auto", "present", "absent"]) -> Sample:
    """Text in UTF-8. Raises Unreadable."""
    text = data.decode(errors="surrogateescape").removeprefix(BOM)
    if not text.strip():
        raise Unreadable("empty_file", "The sample has no rows.")
    return _read_csv(text, delimiter, header) if form == "csv" else _read_json(text, form)


def _read_csv(text: str, delimiter: str | None, header: Literal["auto", "present", "absent"]) -> Sample:
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise Unreadable("bad_delimiter", f"{delimiter!r} can't separate cells.")
    mark = delimiter or _delimiter(text)
    records = list(_records(text, mark))
    sound = [record for record in records if record]
    if not sound:
        raise Unreadable("no_rows", "No line of the sample can be read as cells.")
    width = _checked(len(sound[0]))
    rows = [record for record in sound if len(record) == width]
    told, sure = _header(rows) if header == "auto" else (header, True)
    names = rows[0] if told == "present" else [f"column {number}" for number in range(1, width + 1)]
    # The ingestor takes a lone carriage return for nothing, too.
    found: list[list[Any]] = [[cell if cell.strip("\r") else None for cell in row] for row in rows[told == "present" :]]
    return Sample(names, found, len(records) - len(rows), told, mark, guessed=not sure)


def _checked(width: int) -> int:
    if width > MOST_FIELDS:
        raise Unreadable("too_many_columns", f"The sample has {width} columns, and {MOST_FIELDS} can be declared.")
    return width


def _records(text: str, delimiter: str) -> Iterator[list[str] | None]:
    """The cells of each record that isn't blank; None for a line whose quotes or characters are wrong."""
    mark = re.escape(delimiter)
    cell = rf'(?:"(?:[^"]++|"")*+"|[^{mark}"\n]*+)'
    record, cells = re.compile(rf"{cell}(?:{mark}{cell})*+\r?(?:\n|\Z)"), re.compile(rf"(?:^|{mark})({cell})")
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
            yield None if broken else [_unquoted(found) for found in cells.findall(line)]


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _delimiter(text: str) -> str:
    """The one that gives most records as many cells as the first has, and that more than one."""
    shares: dict[str, float] = {",": 0.0}
    for mark in DELIMITERS:
        widths = [len(cells) for cells in islice(_records(text, mark), LOOKED_AT) if cells]
        if widths and widths[0] > 1:
            shares[mark] = round(Counter(widths)[widths[0]] / len(widths), 1)
    return max(DELIMITERS, key=lambda mark: shares.get(mark, -1.0))


def _header(rows: Sequence[Sequence[str]]) -> tuple[Literal["present", "absent"], bool]:
    """Whether the first row names the columns, and whether that is sure."""
    first, others = rows[0], rows[1:LOOKED_AT]
    for name, column in zip(first, zip(*others, strict=True), strict=False):
        values = [value.strip(" ") for value in column if value]
        for kind in TYPED if values else ():
            if all(literals.holds(kind, value) for value in values) and not literals.holds(kind, name.strip(" ")):
                return "present", True
        plain = sum(bool(IDENTIFIER.fullmatch(value)) for value in values)
        if IDENTIFIER.fullmatch(name) and 2 * plain < len(values):
            return "present", True
    if any(literals.holds(kind, cell.strip(" ")) for kind in TYPED for cell in first):
        return "absent", True
    named = all(cell.strip() and len(cell) <= LONGEST_NAME for cell in first) and len(set(first)) == len(first)
    again = any(name in column for name, column in zip(first, zip(*others, strict=True), strict=False))
    return ("present" if named and not again else "absent"), False


def _read_json(text: str, form: Format) -> Sample:
    found = list(_objects(text, form))
    objects = [one for one in found if one is not None]
    names = list(dict.fromkeys(name for one in objects for name in one))
    if found and not names:
        raise Unreadable("not_json", "The sample has no JSON objects with keys.")
    _checked(len(names))
    rows = [[one.get(name) for name in names] for one in objects]
    return Sample(names, rows, len(found) - len(objects))


def _objects(text: str, form: Format) -> Iterator[dict[str, Any] | None]:
    """None for what can't be read as a row."""
    if form == "ndjson":
        for line in text.split("\n"):
            if line.strip():
                yield _object(line)
        return
    try:
        elements = DECODER.decode(text.encode(errors="surrogateescape"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable("not_json", f"The sample is no JSON: {error}") from error
    if not isinstance(elements, list):
        raise Unreadable("not_json", "The sample is no JSON array of objects.")
    for one in elements:
        yield one if isinstance(one, dict) and not _has_nul(one) else None


def _object(line: str) -> dict[str, Any] | None:
    try:
        one = DECODER.decode(line.encode(errors="surrogateescape"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return one if isinstance(one, dict) and not _has_nul(one) else None


def _has_nul(value: Any) -> bool:
    """Which Postgres can keep neither in text nor in jsonb."""
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(key) or _has_nul(one) for key, one in value.items())
        case list():
            return any(map(_has_nul, value))
    return False
