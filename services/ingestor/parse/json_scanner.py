"""Where the elements of a JSON array begin and end. Its opening bracket is not looked for; a `]` that closes nothing
else closes it, and all that follows is one flawed element.

A comma or a newline outside of all brackets and strings ends an element, so one whose brackets and strings are whole
costs itself alone, whatever else is wrong with it. A string can't have a newline in it: one that is open at the end of
a line ends its element there. An element whose brackets don't close is its first line and nothing more, as in CSV.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from services.ingestor.parse import csv_scanner
from services.ingestor.parse.csv_scanner import LF, Flaw, Mask, Positions, Records, Symbols

BLOCK = 256 << 10
"""Bytes that are looked at together, so that what is known of them fits into the processor's cache."""

QUOTE, BACKSLASH, COMMA, CLOSING, OBJECT_END = b'"\\,]}'
SPACE = b" \t\r\n"
BLANK = re.compile(rb"[ \t\r\n,]*")
TOKEN = re.compile(rb'\\[\\"]|["{}\[\],\n]')
STEPS = np.zeros(256, np.int8)
STEPS[list(b"{[")] = 1
STEPS[list(b"}]")] = -1


class Tokens(NamedTuple):
    """The commas, brackets and newlines outside of strings, of a block that begins outside of one."""

    places: Positions
    kinds: Symbols
    torn: Mask
    """Newlines with an open string before them."""
    open: bool
    """Whether the block ends within a string."""


class Part(NamedTuple):
    """Elements one after the other, from the beginning of a block: starts, stops, ends and flaws as in `Records`."""

    columns: Positions
    seen: int
    """Bytes that are dealt with."""
    closed: bool
    """Whether the array ended with them."""


def find(data: bytes) -> Records:
    """The elements of a range that begins where one may begin. One that begins with the array's end has one flawed
    element, even if nothing can be seen of it.

    What an element is depends on no more than `LARGEST_RECORD + 1` bytes from its start, unless it is too large.
    """
    at = skip(data)
    rest = closed = data[at : at + 1] == b"]"
    at += closed
    columns = [np.empty((4, 0), np.intp)]
    while not closed and (at := skip(data, at)) < len(data):
        part = _next(data, at)
        part.columns[:3] += at
        columns.append(part.columns)
        at, closed = at + part.seen, part.closed
    if rest or (closed and data[at:].strip(SPACE)):
        start = len(data) - len(data[at:].lstrip(SPACE))
        columns.append(np.array([[start], [len(data)], [len(data)], [Flaw.AFTER_END]]))
    starts, stops, ends, flaws = np.concatenate(columns, axis=1)
    newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == LF)
    lines = np.searchsorted(newlines, starts)
    return Records(starts, stops, ends, lines, np.zeros_like(starts), flaws.astype(np.uint8))


def skip(data: bytes, at: int = 0) -> int:
    """Where the next element begins, or the end of the array. Between commas there may be nothing."""
    blank = BLANK.match(data, at)
    return blank.end() if blank else at


def skip_large(pieces: Iterable[bytes]) -> int:
    """Bytes of the element that these begin with and of what ends it. It has no newline."""
    passed, depth, inside, held = 0, 0, False, b""
    for piece in pieces:
        block = held + piece
        slashes = len(block) - len(block.rstrip(b"\\"))
        held = block[len(block) - slashes % 2 :]
        for match in TOKEN.finditer(block, 0, len(block) - len(held)):
            token = match[0]
            if token == b"\n" or (not inside and depth == 0 and token in b",]"):
                return passed + match.end()
            if token == b'"':
                inside = not inside
            elif not inside:
                depth = max(0, depth + int(STEPS[token[0]]))
        passed += len(block) - len(held)
    return passed + len(held)


def _next(data: bytes, at: int) -> Part:
    most = csv_scanner.LARGEST_RECORD + 1
    for size in (BLOCK, most):
        part = _sound(data[at : at + min(size, most)])
        if part.seen:
            return part
    return _mended(data, at)


def _sound(block: bytes) -> Part:
    """The elements that end in a block which is short enough for all of them."""
    symbols = np.frombuffer(block, np.uint8)
    places, kinds, torn, _ = _tokens(symbols)
    # How deep in brackets, from the last torn line on. It is never less than nothing.
    steps = np.cumsum(STEPS[kinds], dtype=np.int64)
    segments: Positions = np.cumsum(torn) - torn
    last = np.maximum.accumulate(np.where(torn, np.arange(len(torn)), -1))
    before = np.concatenate([[-1], last[:-1]])[: len(torn)]
    steps -= np.where(before >= 0, steps[before], 0)
    apart = segments * (2 * len(block) + 1)
    depth = steps - np.minimum(np.minimum.accumulate(steps - apart) + apart, 0)
    depth[torn] = 0
    outer = np.concatenate([[0], depth[:-1]])[: len(depth)]
    closing = np.flatnonzero((kinds == CLOSING) & (outer == 0))[:1]
    ending = np.flatnonzero((depth == 0) & ((kinds == COMMA) | (kinds == LF)))
    if len(closing):
        ending = np.append(ending[ending < closing[0]], closing)
    if not len(ending):
        return Part(np.empty((4, 0), np.intp), 0, closed=False)
    ends = places[ending]
    begins = np.concatenate([[0], ends[:-1] + 1])
    # From the first to the last byte that is no space.
    shown = np.flatnonzero(~_among(symbols, SPACE))
    first, after = np.searchsorted(shown, begins), np.searchsorted(shown, ends)
    some = after > first
    flaws = np.where(torn[ending[some]], Flaw.NOT_CLOSED, Flaw.NONE)
    columns = np.stack([shown[first[some]], shown[after[some] - 1] + 1, ends[some] + 1, flaws])
    return Part(columns, int(ends[-1]) + 1, closed=len(closing) > 0)


def _tokens(symbols: Symbols) -> Tokens:
    places = np.flatnonzero(_among(symbols, b'"\\,{}[]\n'))
    kinds = symbols[places]
    quotes = kinds == QUOTE
    slashes = kinds == BACKSLASH
    if slashes.any():
        quotes &= ~_escaped(places, slashes)
    newlines = kinds == LF
    count = np.cumsum(quotes, dtype=np.int32)
    # Quotes are counted from the beginning of each line.
    until = np.maximum.accumulate(np.where(newlines, count, 0))
    inside = (count - np.concatenate([[0], until[:-1]])[: len(count)]) & 1 == 1
    kept = np.flatnonzero(newlines | ~(inside | (kinds == QUOTE) | slashes))
    is_open = len(count) > 0 and (count[-1] - until[-1]) & 1 == 1
    return Tokens(places[kept], kinds[kept], (newlines & inside)[kept], is_open)


def _among(symbols: Symbols, these: bytes) -> Mask:
    """Where one of a few bytes stands; much faster than to look each one up."""
    among: Mask = symbols == these[0]
    for symbol in these[1:]:
        among |= symbols == symbol
    return among


def _escaped(places: Positions, slashes: Mask) -> Mask:
    """Tokens with an odd number of backslashes directly before them."""
    follows = np.zeros(len(places), np.bool_)
    follows[1:] = slashes[:-1] & (np.diff(places) == 1)
    begins = np.maximum.accumulate(np.where(slashes & ~follows, places, -1))
    escaped: Mask = follows & ((places - np.concatenate([[0], begins[:-1]])) & 1 == 1)
    return escaped


def _mended(data: bytes, at: int) -> Part:
    """At least one element, where the first is not sound."""
    most = csv_scanner.LARGEST_RECORD
    block = data[at : at + 2 * most + 2]
    whole = at + len(block) == len(data)
    tokens = _tokens(np.frombuffer(block, np.uint8))
    places, following = tokens.places.tolist(), _following(tokens)
    found: list[tuple[int, int, int, int]] = []
    start, closed = 0, False
    while not closed and start < len(block) and (whole or start <= most):
        ending = following[bisect_left(places, start)]
        ends_in_time = whole and len(block) - start <= most
        if 0 <= ending < len(places) and places[ending] - start <= most:
            stop, flaw = places[ending], Flaw.NOT_CLOSED if tokens.torn[ending] else Flaw.NONE
            closed = tokens.kinds[ending] == CLOSING
            end = stop + 1
        elif ending == len(places) and ends_in_time and not block.endswith(b"]"):
            stop, end, flaw = len(block), len(block), Flaw.NOT_CLOSED
        elif (newline := block.find(b"\n", start, start + most + 1)) >= 0:
            stop, end, flaw = newline, newline + 1, Flaw.NOT_CLOSED
        elif ends_in_time:
            stop, end, flaw = len(block), len(block), Flaw.NOT_CLOSED
        elif found:
            break
        else:
            end = skip_large([data[at:]])
            return Part(np.array([[0], [end], [end], [Flaw.TOO_LARGE]]), end, closed=data[at + end - 1] == CLOSING)
        if stop > start:
            found.append((start, start + len(block[start:stop].rstrip(SPACE)), end, flaw))
        start = end if closed else skip(block, end)
    return Part(np.array(found, np.intp).reshape(-1, 4).T.copy(), start, closed)


def _following(tokens: Tokens) -> list[int]:
    """Which token ends an element that goes on, outside of its own brackets, with this one or with the block's end.

    As its place among the tokens; their number is the block's end, and -1 stands for none.
    """
    count = len(tokens.kinds)
    following = [-1] * count + [-1 if tokens.open else count]
    closers: list[int] = []
    torn = -1
    for place, kind in zip(range(count - 1, -1, -1), tokens.kinds[::-1].tolist(), strict=True):
        if tokens.torn[place]:
            following[place] = torn = place
            closers = []
        elif STEPS[kind] > 0:
            following[place] = following[closers.pop() + 1] if closers else torn
        else:
            following[place] = following[place + 1] if kind == OBJECT_END else place
            if STEPS[kind] < 0:
                closers.append(place)
    return following
