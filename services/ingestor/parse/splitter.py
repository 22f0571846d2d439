"""Splits a file into chunks of whole records, in one pass and in the memory of one chunk."""

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


class ChunkRange(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive) of a file; the first is on physical line `line` (from 1)."""

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


def split(file: BinaryIO, dialect: Dialect, *, size: int = SIZE) -> Iterator[ChunkRange]:
    """Yields chunks of about `size` bytes with all rows of the file, without its BOM and header line.

    A chunk longer than `max(size, LARGEST_RECORD + 2)` is one record that is too large. Its first `LARGEST_RECORD + 2`
    bytes parse to the same failed row, so the rest need not be read.

    Raises MalformedJson, perhaps only after the last chunk, if the file is not one well-formed JSON array.
    """
    reach = BLOCK if dialect.format == "json" else size
    window = _Window(file, reach + csv_scanner.LARGEST_RECORD + 2)
    window.skip(len(BOM) if window.data.startswith(BOM) else 0)
    if dialect.format == "json":
        return _split_array(window, size)
    separators = csv_scanner.separators(dialect)
    if dialect.header:
        ends = csv_scanner.find_records(window.data, separators).ends
        window.skip(int(ends[0]) if len(ends) else len(window.data))
    return _split_lines(window, separators, size)


class _Window:
    """A window on a file: `data`, from byte `at` and physical line `line` on."""

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

    def skip(self, length: int) -> None:
        self.line += int(np.count_nonzero(np.frombuffer(self.data, np.uint8, length) == csv_scanner.LF))
        self.at += length
        self.data = self.data[length:]
        self.data += self._file.read(self._reach - len(self.data))

    def skip_blanks(self) -> None:
        while blank := json_scanner.skip_blanks(self.data):
            self.skip(blank)

    def read_pieces(self) -> Iterator[bytes]:
        """Yields the rest of the file in pieces, and skips each of them when the next one is read."""
        while self.data:
            yield self.data
            self.skip(len(self.data))

    def malformed(self, reason: str, byte: int = 0) -> MalformedJson:
        """Returns the error for a byte of `data`."""
        byte += self.at
        return MalformedJson(reason, *_locate(self._file, byte), byte)


def _split_lines(window: _Window, separators: csv_scanner.Separators | None, size: int) -> Iterator[ChunkRange]:
    while window.data:
        start, line = window.at, window.line
        window.skip(_fitting_length(window.data, separators, size, whole=window.whole))
        if window.line == line:
            _skip_line(window)
        yield ChunkRange(start, window.at, line)


def _fitting_length(data: bytes, separators: csv_scanner.Separators | None, size: int, *, whole: bool) -> int:
    """Returns the length of the records that fit into `size`, or of the first record if it is longer."""
    if whole and len(data) <= size:
        return len(data)
    quoted = separators is not None and data.find(separators.quote, 0, size) >= 0
    if not quoted and (newline := data.rfind(b"\n", 0, size)) >= 0:
        return newline + 1
    lines, last, _ = csv_scanner.find_ends(data, separators)
    ends = lines[last]
    fitting = int(np.searchsorted(ends, size, side="right"))
    return int(ends[max(0, fitting - 1)])


def _skip_line(window: _Window) -> None:
    for piece in window.read_pieces():
        if newline := piece.find(b"\n") + 1:
            window.skip(newline)
            return


def _split_array(window: _Window, size: int) -> Iterator[ChunkRange]:
    last: ChunkRange | None = None
    for part in _split_runs(window, size):
        if last and part.end - last.start > size:
            yield last
            last = None
        last = ChunkRange(last.start, part.end, last.line) if last else part
    if last:
        yield last


def _split_runs(window: _Window, size: int) -> Iterator[ChunkRange]:
    """Yields runs of elements, or single elements where a run is longer than `size`."""
    window.skip_blanks()
    if not window.data.startswith(b"["):
        raise window.malformed("expected '['")
    window.skip(1)
    window.skip_blanks()
    closing = b"]" if window.data.startswith(b"]") else b","
    window.skip(closing == b"]")
    while closing == b",":
        window.skip_blanks()
        start, line = window.at, window.line
        if len(ends := json_scanner.find_ends(window.data)):
            data = window.data[: int(ends[-1])]
            if mistake := json_scanner.find_mistake(data, ends):
                raise window.malformed(*mistake)
            window.skip(len(data))
            closing = data[-1:]
            yield from _split_run(data, ends if len(data) > size else ends[-1:], start, line)
        elif mistake := json_scanner.find_mistake_in_start(window.data):
            raise window.malformed(*mistake)
        else:
            closing = _skip_large_element(window)
            yield ChunkRange(start, window.at, line)
    if closing == b"}":
        raise window.malformed("expected ',' or ']'", -1)
    for piece in window.read_pieces():
        if (blank := json_scanner.skip_blanks(piece)) < len(piece):
            raise window.malformed("expected nothing after the ] that closes the array", blank)


def _split_run(data: bytes, ends: Positions, at: int, line: int) -> Iterator[ChunkRange]:
    before = 0
    starts, _ = json_scanner.find_bounds(data, ends)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        line += data.count(b"\n", before, start)
        before = start
        yield ChunkRange(at + start, at + end, line)


def _skip_large_element(window: _Window) -> bytes:
    """Skips an element that is longer than `data`, and returns the comma or bracket that ends it."""
    scanner = json_scanner.Scanner()
    for piece in window.read_pieces():
        if len(ends := scanner.find_ends(piece)):
            window.skip(int(ends[0]))
            return piece[ends[0] - 1 : ends[0]]
    raise window.malformed("the file ends before the array does")


def _locate(file: BinaryIO, byte: int) -> tuple[int, int]:
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
