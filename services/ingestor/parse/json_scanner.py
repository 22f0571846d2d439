"""Finds the elements of a JSON array and checks that they are well formed. The opening bracket is already passed.

An element ends with its comma or with the closing bracket. In a well-formed array, strings and depth are enough to find
these; msgspec checks the rest.
"""

import re
from contextlib import suppress
from typing import NamedTuple

import msgspec
import numpy as np

from services.ingestor.parse import csv_scanner
from services.ingestor.parse.csv_scanner import LF, Flaw, Positions, Records

BLOCK = 256 << 10
"""Bytes scanned at a time, so that the numpy arrays fit into the CPU cache."""

QUOTE, COMMA = b'",'
OPEN, CLOSE = b"{}"
TO_BRACE = 0x20
"""The bit that turns square brackets, and no other bytes, into braces."""
STEPS = np.zeros(256, np.int8)
STEPS[list(b"{[")] = 1
STEPS[list(b"}]")] = -1
SPACE = b" \t\r\n"
BLANK = re.compile(rb"[ \t\r\n]*+")
ANY = msgspec.json.Decoder(msgspec.Raw)
REFUSED = (msgspec.DecodeError, RecursionError)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MALFORMED = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")


class Mistake(NamedTuple):
    """Why a text is not JSON, and the offset of the first wrong byte."""

    reason: str
    byte: int


class Scanner:
    """Finds the ends of elements in consecutive blocks. The first block starts between elements."""

    def __init__(self) -> None:
        self._closed = False
        self._depth = 0
        self._quotes = 0
        self._escaped = False

    def find_ends(self, block: bytes) -> Positions:
        """Returns the offsets after the commas and the closing bracket that end elements."""
        if self._closed:
            return np.empty(0, np.intp)
        if self._escaped:
            block = b" " + block[1:]
        if b"\\" in block:
            # replace() works from left to right, so a backslash always goes with the character that it escapes.
            block = block.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        self._escaped = block.endswith(b"\\")
        symbols = np.frombuffer(block, np.uint8)
        braces = symbols | TO_BRACE
        places = np.flatnonzero((symbols == QUOTE) | (symbols == COMMA) | (braces == OPEN) | (braces == CLOSE))
        kinds = symbols[places]
        quotes = kinds == QUOTE
        # Only the parity counts, so that the sum may overflow.
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


def find_ends(data: bytes) -> Positions:
    """Returns the ends of all elements that end in the data; the last end may be that of the array."""
    scanner = Scanner()
    blocks = range(0, len(data), BLOCK)
    return np.concatenate([np.empty(0, np.intp), *(scanner.find_ends(data[at : at + BLOCK]) + at for at in blocks)])


def find_elements(data: bytes) -> Records:
    """Returns the elements of a chunk. The start of a large element, which has no end, extends to the data's end."""
    after = find_ends(data)
    if not len(after) or data[after[-1] - 1] == COMMA:
        after = np.append(after, len(data) + 1)
    starts, stops = find_bounds(data, after)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == LF)
    # Blanks before the comma count, so that a large element is recognized by its start alone.
    flaws = np.where(after - 1 - starts > csv_scanner.LARGEST_RECORD, Flaw.TOO_LARGE, Flaw.NONE).astype(np.uint8)
    elements = Records(starts, stops, after, np.searchsorted(newlines, starts), np.zeros_like(starts), flaws)
    return csv_scanner.keep_records(elements, stops > starts)


def find_bounds(data: bytes, ends: Positions) -> tuple[Positions, Positions]:
    """Returns where elements with these ends start and stop, without the blanks around them."""
    starts, stops = [], []
    at = 0
    for end in ends.tolist():
        start = skip_blanks(data, at)
        starts.append(start)
        stops.append(start + len(data[start : end - 1].rstrip(SPACE)))
        at = end
    return np.array(starts, np.intp), np.array(stops, np.intp)


def skip_blanks(data: bytes, at: int = 0) -> int:
    """Returns the offset of the first byte that is not blank."""
    blank = BLANK.match(data, at)
    return blank.end() if blank else at


def find_mistake(data: bytes, ends: Positions) -> Mistake | None:
    """Returns the first mistake in elements with these ends, or None.

    Lone surrogates, invalid UTF-8 in strings and too deep nesting are no mistakes: they fail the row, not the file.
    """
    text = data[:-1]
    with suppress(*REFUSED):
        ANY.decode(b"[%b]" % text)
        if text.strip(SPACE):  # [] is JSON, but not an element
            return None
    starts, stops = find_bounds(data, ends)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        # With something after the element, msgspec reports a byte instead of truncated data.
        if mistake := find_mistake_in_start(data[start:stop] + b",null]"):
            return Mistake(mistake.reason, start + mistake.byte)
    return None


def find_mistake_in_start(text: bytes) -> Mistake | None:
    """Returns the first mistake that no continuation of the text can correct, or None."""
    try:
        ANY.decode(b"[" + replace_surrogates(text))
    except REFUSED as error:
        found = MALFORMED.fullmatch(str(error))
        # An error at the end may only mean that the text is too short.
        return Mistake(found[1], int(found[2]) - 1) if found and int(found[2]) <= len(text) else None
    return None


def replace_surrogates(text: bytes) -> bytes:
    """Returns the text, equally long, without escaped surrogates: msgspec rejects lone ones."""
    return SURROGATE.sub(rb"\\u00", text)
