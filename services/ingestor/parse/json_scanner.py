"""Where the elements of a JSON array end, and whether they are well-formed. All of it is behind the opening bracket.

An element ends with the comma or bracket after it. In a well-formed array, strings and depth are enough to find these.
"""

import re
from contextlib import suppress
from typing import NamedTuple

import msgspec
import numpy as np

from services.ingestor.parse import csv_scanner
from services.ingestor.parse.csv_scanner import LF, Flaw, Positions, Records

BLOCK = 256 << 10
"""Bytes scanned together, so that the arrays about them fit into the processor's cache."""

QUOTE, COMMA = b'",'
OPEN, CLOSE = b"{}"
TO_BRACE = 0x20
"""The bit that turns a square bracket into a brace, and no other byte into one."""
STEPS = np.zeros(256, np.int8)
STEPS[list(b"{[")] = 1
STEPS[list(b"}]")] = -1
SPACE = b" \t\r\n"
BLANK = re.compile(rb"[ \t\r\n]*+")
ANY = msgspec.json.Decoder(msgspec.Raw)
REFUSED = (msgspec.DecodeError, RecursionError)
HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
MALFORMED = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")


class Mistake(NamedTuple):
    """What is wrong with a text, and at which byte of it."""

    reason: str
    byte: int


class Scanner:
    """Finds the ends of elements in blocks that follow each other; the first begins where an element may begin."""

    def __init__(self) -> None:
        self._closed = False
        self._depth = 0
        self._quotes = 0
        self._escaped = False

    def ends(self, block: bytes) -> Positions:
        """The places after the commas, and after the closing bracket, that end an element."""
        if self._closed:
            return np.empty(0, np.intp)
        if self._escaped:
            block = b" " + block[1:]
        if b"\\" in block:
            # From left to right, so that each backslash that escapes goes with what it escapes.
            block = block.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        self._escaped = block.endswith(b"\\")
        symbols = np.frombuffer(block, np.uint8)
        braces = symbols | TO_BRACE
        places = np.flatnonzero((symbols == QUOTE) | (symbols == COMMA) | (braces == OPEN) | (braces == CLOSE))
        kinds = symbols[places]
        quotes = kinds == QUOTE
        # Only whether the count is odd matters, and that survives an overflow.
        count = np.cumsum(quotes, dtype=np.uint8) + np.uint8(self._quotes)
        outside = np.flatnonzero(~quotes & (count & 1 == 0))
        places, kinds = places[outside], kinds[outside]
        depth = np.cumsum(STEPS[kinds], dtype=np.int32) + self._depth
        if len(count):
            self._quotes = int(count[-1]) & 1
        if len(depth):
            self._depth = int(depth[-1])
        found: Positions = places[(depth == 0) & (kinds == COMMA)]
        if len(closing := places[depth < 0][:1]):
            self._closed = True
            found = np.append(found[found < closing], closing)
        return found + 1


def ends(data: bytes) -> Positions:
    """The ends of the elements that begin with the data. The last may be that of the array, then with a bracket."""
    scanner = Scanner()
    blocks = range(0, len(data), BLOCK)
    return np.concatenate([np.empty(0, np.intp), *(scanner.ends(data[at : at + BLOCK]) + at for at in blocks)])


def find(data: bytes) -> Records:
    """The elements of a range of whole ones. One that has no end, as only the beginning of a large one may, goes on to
    the end of the data.
    """
    after = ends(data)
    if not len(after) or data[after[-1] - 1] == COMMA:
        after = np.append(after, len(data) + 1)
    starts, stops = bounds(data, after)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == LF)
    # With the blanks before its end, so that this shows in the beginning of a large one too.
    flaws = np.where(after - 1 - starts > csv_scanner.LARGEST_RECORD, Flaw.TOO_LARGE, Flaw.NONE).astype(np.uint8)
    found = Records(starts, stops, after, np.searchsorted(newlines, starts), np.zeros_like(starts), flaws)
    return csv_scanner.only(found, stops > starts)


def bounds(data: bytes, ends: Positions) -> tuple[Positions, Positions]:
    """The first byte of each element, and the byte after its last one, without the blanks around it."""
    starts, stops = [], []
    at = 0
    for end in ends.tolist():
        start = skip(data, at)
        starts.append(start)
        stops.append(start + len(data[start : end - 1].rstrip(SPACE)))
        at = end
    return np.array(starts, np.intp), np.array(stops, np.intp)


def skip(data: bytes, at: int = 0) -> int:
    """Where the blanks that begin here end."""
    blank = BLANK.match(data, at)
    return blank.end() if blank else at


def find_mistake(data: bytes, ends: Positions) -> Mistake | None:
    """The first one in whole elements.

    Half of a surrogate pair is none, nor are bytes that aren't UTF-8 in a string, nor is an element that is nested too
    deeply to be read: these cost their row and not the file.
    """
    text = data[:-1]
    with suppress(*REFUSED):
        ANY.decode(b"[%b]" % text)
        if text.strip(SPACE):  # nothing between the brackets is fine for msgspec
            return None
    starts, stops = bounds(data, ends)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        # What follows keeps msgspec from saying of the last bytes only that they are too few.
        if mistake := find_mistake_in_beginning(data[start:stop] + b",null]"):
            return Mistake(mistake.reason, start + mistake.byte)
    return None


def find_mistake_in_beginning(text: bytes) -> Mistake | None:
    """The first one that stays one however these elements go on."""
    try:
        ANY.decode(b"[" + without_halves(text))
    except REFUSED as error:
        found = MALFORMED.fullmatch(str(error))
        # At the end of the text, it may only be too short.
        return Mistake(found[1], int(found[2]) - 1) if found and int(found[2]) <= len(text) else None
    return None


def without_halves(text: bytes) -> bytes:
    """The text with other characters for those of surrogate pairs, as many bytes long: msgspec refuses half a pair."""
    return HALF_PAIR.sub(rb"\\u00", text)
