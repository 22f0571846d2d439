"""Cuts a CSV file into ranges of whole records, in one pass and in the memory of one range."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np

from services.ingestor import records
from shared.contracts.parts import Dialect

SIZE = 8 << 20
BOM = b"\xef\xbb\xbf"


class Cut(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive) of a file; the first of them stands on physical line `line` (from 1)."""

    start: int
    end: int
    line: int


def cut(file: BinaryIO, dialect: Dialect, *, size: int = SIZE, start: int = 0, line: int = 1) -> Iterator[Cut]:
    """Ranges of about `size` bytes that cover the file after its BOM and header line. With `start`, which must be the
    end of an earlier cut, the file stands there and goes on with physical line `line`.

    A cut longer than `max(size, LARGEST_RECORD + 2)` is one record that is too large. Its first `LARGEST_RECORD + 2`
    bytes parse to the same failed row, so nobody needs to hold more of it in memory.
    """
    reach = size + records.LARGEST_RECORD + 2
    ahead = file.read(reach)
    if start == 0:
        start, lines = _preface(ahead, dialect)
        ahead, line = ahead[start:], line + lines
    while True:
        ahead += file.read(reach - len(ahead))
        if not ahead:
            return
        length = _length(ahead, dialect.delimiter, size, whole=len(ahead) < reach)
        lines = int(np.count_nonzero(np.frombuffer(ahead, np.uint8, length) == records.LF))
        ahead = ahead[length:]
        end = start + length
        if lines == 0:
            ahead, skipped = _skip_line(file, ahead)
            end, lines = end + skipped, 1
        yield Cut(start, end, line)
        start, line = end, line + lines


def _preface(ahead: bytes, dialect: Dialect) -> tuple[int, int]:
    """Bytes and physical lines before the first row of data."""
    bom = len(BOM) if ahead.startswith(BOM) else 0
    if not dialect.header:
        return bom, 0
    found = records.find(ahead[bom:], dialect.delimiter)
    end = bom + int(found.ends[0]) if len(found.ends) else len(ahead)
    return end, ahead.count(b"\n", 0, end)


def _length(ahead: bytes, delimiter: str, size: int, *, whole: bool) -> int:
    """Bytes of the records that fit into `size`, or of the first one if it doesn't."""
    if whole and len(ahead) <= size:
        return len(ahead)
    if ahead.find(b'"', 0, size) < 0 and (newline := ahead.rfind(b"\n", 0, size)) >= 0:
        return newline + 1
    lines, last, _ = records.ends(ahead, delimiter)
    ends = lines[last]
    fitting = int(np.searchsorted(ends, size, side="right"))
    return int(ends[max(0, fitting - 1)])


def _skip_line(file: BinaryIO, ahead: bytes) -> tuple[bytes, int]:
    """Reads on until after the next newline; how many bytes were passed. Nothing if the file is at its end."""
    skipped = 0
    while ahead or (ahead := file.read(records.LARGEST_RECORD)):
        if newline := ahead.find(b"\n") + 1:
            return ahead[newline:], skipped + newline
        skipped, ahead = skipped + len(ahead), b""
    return b"", skipped
