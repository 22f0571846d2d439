"""Cuts a file into ranges of whole records, in one pass and in the memory of one range."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np

from services.ingestor.parse import csv_scanner, json_scanner
from shared.contracts.parts import Dialect

SIZE = 8 << 20
BOM = b"\xef\xbb\xbf"


class Cut(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive) of a file; the first of them stands on physical line `line` (from 1)."""

    start: int
    end: int
    line: int


def cut(file: BinaryIO, dialect: Dialect, *, size: int = SIZE, start: int = 0, line: int = 1) -> Iterator[Cut]:
    """Ranges of about `size` bytes with all rows of the file: what follows its BOM and header line, or its elements.

    With `start`, which must be the end of an earlier cut, the file stands there and goes on with physical line `line`.

    A cut longer than `max(size, LARGEST_RECORD + 2)` is one record that is too large. Its first `LARGEST_RECORD + 2`
    bytes parse to the same failed row, so nobody needs to hold more of it in memory.
    """
    ahead = _Ahead(file, size + csv_scanner.LARGEST_RECORD + 2, start, line)
    if start == 0:
        ahead.pass_by(len(BOM) if ahead.data.startswith(BOM) else 0)
        ahead.pass_by(_preface(ahead.data, dialect))
    return _cut_array(ahead, size) if dialect.format == "json" else _cut_lines(ahead, csv_scanner.marks(dialect), size)


class _Ahead:
    """What has been read of a file and not been passed by: `data`, from byte `at` and physical line `line` on."""

    def __init__(self, file: BinaryIO, reach: int, at: int, line: int) -> None:
        self._file = file
        self._reach = reach
        self.at = at
        self.line = line
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

    def pieces(self) -> Iterator[bytes]:
        """All that follows, each piece passed by when the next is asked for."""
        while self.data:
            yield self.data
            self.pass_by(len(self.data))


def _preface(data: bytes, dialect: Dialect) -> int:
    """Bytes before the first row."""
    if dialect.format == "json":
        blank = len(data) - len(data.lstrip(json_scanner.SPACE))
        return blank + data.startswith(b"[", blank)
    if not dialect.header:
        return 0
    found = csv_scanner.find(data, csv_scanner.marks(dialect))
    return int(found.ends[0]) if len(found.ends) else len(data)


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
    """If more than blanks follow the array's end, the last cut is that, and begins with the `]`, which is also in the
    cut before. If there is no end, no cut has what follows the last element, which shows that this one may be torn.
    """
    last: Cut | None = None
    stop = 0
    while True:
        while blank := json_scanner.skip(ahead.data):
            ahead.pass_by(blank)
        if last:
            yield last if ahead.data else msgspec.structs.replace(last, end=stop)
        start, line = ahead.at, ahead.line
        if not ahead.data:
            return
        if ahead.data.startswith(b"]"):
            ahead.pass_by(1)
            if any([piece.strip(json_scanner.SPACE) for piece in ahead.pieces()]):  # noqa: C419 - to the file's end
                yield Cut(start, ahead.at, line)
            return
        found = json_scanner.find(ahead.data)
        place = max(
            0, int(np.searchsorted(found.ends[found.flaws != csv_scanner.Flaw.AFTER_END], size, side="right")) - 1
        )
        length = int(found.ends[place])
        # An array is no row, and looks like the end if it comes last.
        sound = not found.flaws[place] and not ahead.data.endswith(b"]", 0, int(found.stops[place]))
        stop = start + (int(found.stops[place]) if sound else length)
        if place == 0 and found.flaws[0] == csv_scanner.Flaw.TOO_LARGE:
            stop = start + json_scanner.skip_large(ahead.pieces())
            length = stop - ahead.at
        closed = ahead.data.startswith(b"]", length - 1)
        ahead.pass_by(length - closed)
        last = Cut(start, ahead.at + closed, line)
