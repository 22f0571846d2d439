"""Cuts a file into ranges of whole records, in one pass and in the memory of one range."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np

from services.ingestor.parse import csv_scanner, json_scanner
from services.ingestor.parse.csv_scanner import Positions
from shared.contracts.parts import Dialect

SIZE = 8 << 20
BLOCK = 256 << 10
"""Bytes of an array that are checked at a time."""
BOM = b"\xef\xbb\xbf"
CONTINUATION = bytes(range(0x80, 0xC0))
"""The continuation bytes of UTF-8."""


class Cut(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive) of a file; the first of them stands on physical line `line` (from 1)."""

    start: int
    end: int
    line: int


class MalformedJson(Exception):
    """The first mistake of a JSON array: line and column (in characters) count from 1, bytes from 0."""

    def __init__(self, reason: str, line: int, column: int, byte: int) -> None:
        super().__init__(f"{reason} at line {line}, column {column} (byte {byte})")
        self.reason = reason
        self.line = line
        self.column = column
        self.byte = byte


def cut(file: BinaryIO, dialect: Dialect, *, size: int = SIZE) -> Iterator[Cut]:
    """Ranges of about `size` bytes with all rows of the file: what follows its BOM and header line, or its elements.

    A cut longer than `max(size, LARGEST_RECORD + 2)` is one record that is too large. Its first `LARGEST_RECORD + 2`
    bytes parse to the same failed row, so nobody needs to hold more of it in memory.

    Raises MalformedJson, maybe only after the last cut, if the file is not one well-formed JSON array.
    """
    in_sight = BLOCK if dialect.format == "json" else size
    ahead = _Ahead(file, in_sight + csv_scanner.LARGEST_RECORD + 2)
    ahead.pass_by(len(BOM) if ahead.data.startswith(BOM) else 0)
    if dialect.format == "json":
        return _cut_array(ahead, size)
    marks = csv_scanner.marks(dialect)
    if dialect.header:
        ends = csv_scanner.find(ahead.data, marks).ends
        ahead.pass_by(int(ends[0]) if len(ends) else len(ahead.data))
    return _cut_lines(ahead, marks, size)


class _Ahead:
    """What has been read of a file and not been passed by: `data`, from byte `at` and physical line `line` on."""

    def __init__(self, file: BinaryIO, reach: int) -> None:
        self._file = file
        self._reach = reach
        self.at = 0
        self.line = 1
        self.data = file.read(reach)

    @property
    def whole(self) -> bool:
        """Whether the file ends with `data`."""
        return len(self.data) < self._reach

    def pass_by(self, length: int) -> None:
        self.line += int(np.count_nonzero(np.frombuffer(self.data, np.uint8, length) == csv_scanner.LF))
        self.at += length
        self.data = self.data[length:]
        self.data += self._file.read(self._reach - len(self.data))

    def pass_blanks(self) -> None:
        while blank := json_scanner.skip(self.data):
            self.pass_by(blank)

    def pieces(self) -> Iterator[bytes]:
        """All that follows, each piece passed by when the next is asked for."""
        while self.data:
            yield self.data
            self.pass_by(len(self.data))

    def malformed(self, reason: str, byte: int = 0) -> MalformedJson:
        """Returns the error for a byte of `data`."""
        byte += self.at
        return MalformedJson(reason, *_place(self._file, byte), byte)


def _cut_lines(ahead: _Ahead, marks: csv_scanner.Marks | None, size: int) -> Iterator[Cut]:
    while ahead.data:
        start, line = ahead.at, ahead.line
        ahead.pass_by(_length(ahead.data, marks, size, whole=ahead.whole))
        if ahead.line == line:
            _pass_line(ahead)
        yield Cut(start, ahead.at, line)


def _length(data: bytes, marks: csv_scanner.Marks | None, size: int, *, whole: bool) -> int:
    """Bytes of the records that fit into `size`, or of the first one if it doesn't."""
    if whole and len(data) <= size:
        return len(data)
    quoted = marks is not None and data.find(marks.quote, 0, size) >= 0
    if not quoted and (newline := data.rfind(b"\n", 0, size)) >= 0:
        return newline + 1
    lines, last, _ = csv_scanner.ends(data, marks)
    ends = lines[last]
    fitting = int(np.searchsorted(ends, size, side="right"))
    return int(ends[max(0, fitting - 1)])


def _pass_line(ahead: _Ahead) -> None:
    for piece in ahead.pieces():
        if newline := piece.find(b"\n") + 1:
            ahead.pass_by(newline)
            return


def _cut_array(ahead: _Ahead, size: int) -> Iterator[Cut]:
    last: Cut | None = None
    for part in _parts(ahead, size):
        if last and part.end - last.start > size:
            yield last
            last = None
        last = Cut(last.start, part.end, last.line) if last else part
    if last:
        yield last


def _parts(ahead: _Ahead, size: int) -> Iterator[Cut]:
    """Yields runs of elements, or single elements where a run is longer than `size`."""
    ahead.pass_blanks()
    if not ahead.data.startswith(b"["):
        raise ahead.malformed("expected '['")
    ahead.pass_by(1)
    ahead.pass_blanks()
    closing = b"]" if ahead.data.startswith(b"]") else b","
    ahead.pass_by(closing == b"]")
    while closing == b",":
        ahead.pass_blanks()
        start, line = ahead.at, ahead.line
        if len(ends := json_scanner.ends(ahead.data)):
            data = ahead.data[: int(ends[-1])]
            if mistake := json_scanner.find_mistake(data, ends):
                raise ahead.malformed(*mistake)
            ahead.pass_by(len(data))
            closing = data[-1:]
            yield from _split(data, ends if len(data) > size else ends[-1:], start, line)
        elif mistake := json_scanner.find_mistake_in_beginning(ahead.data):
            raise ahead.malformed(*mistake)
        else:
            closing = _pass_large(ahead)
            yield Cut(start, ahead.at, line)
    if closing == b"}":
        raise ahead.malformed("expected ',' or ']'", -1)
    for piece in ahead.pieces():
        if (blank := json_scanner.skip(piece)) < len(piece):
            raise ahead.malformed("expected nothing after the ] that closes the array", blank)


def _split(data: bytes, ends: Positions, at: int, line: int) -> Iterator[Cut]:
    before = 0
    starts, _ = json_scanner.bounds(data, ends)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        line += data.count(b"\n", before, start)
        before = start
        yield Cut(at + start, at + end, line)


def _pass_large(ahead: _Ahead) -> bytes:
    """Skips an element that is longer than `data`, and returns the comma or bracket that ends it."""
    scanner = json_scanner.Scanner()
    for piece in ahead.pieces():
        if len(ends := scanner.ends(piece)):
            ahead.pass_by(int(ends[0]))
            return piece[ends[0] - 1 : ends[0]]
    raise ahead.malformed("the file ends before the array does")


def _place(file: BinaryIO, byte: int) -> tuple[int, int]:
    """Returns line and column of a byte of the file. A BOM does not count as a character."""
    file.seek(0)
    left = byte - len(BOM) if file.read(len(BOM)) == BOM else byte - file.seek(0)
    line = column = 1
    while piece := file.read(min(left, BLOCK)):
        left -= len(piece)
        line += piece.count(b"\n")
        _, newline, rest = piece.rpartition(b"\n")
        column = (1 if newline else column) + len(rest.translate(None, CONTINUATION))
    return line, column
