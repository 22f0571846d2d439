"""Where the records of CSV bytes begin and end (RFC 4180). Cutting and parsing both ask here, so they can't disagree.

A row whose quotes are wrong is its first line and nothing more: reading resumes on the next one, so a stray quote
can't swallow the rest of a file. In NDJSON every line is a record.
"""

from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.contracts.parts import Dialect

LARGEST_RECORD = 1 << 20
"""Bytes of a record without its line end. How far to look for the quote that closes one."""

LF, CR = b"\n\r"

Symbols = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Flaw(IntEnum):
    """Why the cells of a record can't be told apart."""

    NONE = 0
    STRAY_QUOTE = 1
    UNCLOSED_QUOTE = 2
    TOO_LARGE = 3


class Marks(NamedTuple):
    """The bytes that separate and enclose cells."""

    delimiter: int
    quote: int


class Ends(NamedTuple):
    """What `ends` found: the byte after each line, blank ones included, and which lines end a record, with its flaw."""

    lines: Positions
    last: Positions
    flaws: Symbols


class Records(NamedTuple):
    """Records in file order, blank lines left out. One is `data[start:stop]`, with its line end `data[start:end]`."""

    starts: Positions
    stops: Positions
    ends: Positions
    lines: Positions
    """Lines of the data before the one where the record begins."""
    fields: Positions
    """How many cells; without meaning where there is a flaw."""
    flaws: Symbols


def marks(dialect: Dialect) -> Marks | None:
    """None if every line is a record."""
    return Marks(ord(dialect.delimiter), ord(dialect.quote)) if dialect.format == "csv" else None


def find(data: bytes, marks: Marks | None) -> Records:
    """The records of whole lines; only the very last may lack its line end."""
    symbols = np.frombuffer(data, np.uint8)
    lines, last, flaws = ends(data, marks)
    after = lines[last]
    starts, numbers = _begin(after), _begin(last + 1)
    stops = _stops(symbols, starts, after)
    fields = _fields(symbols, starts, after, marks, paired=not flaws.any()) if marks else np.zeros_like(starts)
    return only(Records(starts, stops, after, numbers, fields, flaws), stops > starts)


def only(found: Records, some: Mask) -> Records:
    """Without the others, which are blank."""
    if some.all():
        return found
    starts, stops, after, lines, fields, flaws = found
    return Records(starts[some], stops[some], after[some], lines[some], fields[some], flaws[some])


def ends(data: bytes, marks: Marks | None) -> Ends:
    """Blank lines count as records here.

    What a record is depends on no more than `LARGEST_RECORD + 2` bytes from its start, except that a flawed one lasts
    until its first newline.
    """
    symbols = np.frombuffer(data, np.uint8)
    lines = np.flatnonzero(symbols == LF) + 1
    if data and symbols[-1] != LF:
        lines = np.append(lines, len(data))
    if marks and marks.quote in data:
        last, flaws = _follow(symbols, lines, marks)
    else:
        last, flaws = np.arange(len(lines)), np.zeros(len(lines), np.uint8)
    after = lines[last]
    long = np.flatnonzero(after - _begin(after) > LARGEST_RECORD)
    flaws[long[_lengths(symbols, _begin(after)[long], after[long]) > LARGEST_RECORD]] = Flaw.TOO_LARGE
    return Ends(lines, last, flaws)


class _Reading(NamedTuple):
    """The lines as they look if the opening quotes are those before which the number of quotes is even, or odd."""

    last: Positions
    """Lines that end outside a cell."""
    stray: Mask
    """Of all lines, those with a quote that can't stand where it does."""
    wrong: Positions
    """Lines where a record begins that isn't well-formed."""


def _follow(symbols: Symbols, lines: Positions, marks: Marks) -> tuple[Positions, Symbols]:
    """The lines that end a record, and the flaws of those records.

    As long as all quotes are in their places, a byte is inside a cell when the number of quotes before it is odd. After
    a flawed record it may be the other way round. So both readings are made, and this follows the one that holds.
    """
    quotes = np.flatnonzero(symbols == marks.quote)
    before = np.searchsorted(quotes, lines)
    even = _read(symbols, lines, quotes, before, marks, 0)
    if len(even.wrong) == 0:
        return even.last, np.zeros(len(even.last), np.uint8)
    odd = _read(symbols, lines, quotes, before, marks, 1)
    wrong = list(_flawed(before, (even.wrong.tolist(), odd.wrong.tolist())))
    # The line after a flawed record begins outside a cell, so the quotes before it tell which reading holds from there.
    begin = np.array([0, *(line + 1 for line in wrong)])
    phases = np.where(begin > 0, before[begin - 1] % 2, 0)
    held = np.repeat(phases, np.diff(begin, append=len(lines)))
    is_last = (before & 1) == held
    is_last[wrong] = True
    stray = np.where(held[wrong] == 0, even.stray[wrong], odd.stray[wrong])
    flaws = np.zeros(len(lines), np.uint8)
    flaws[wrong] = np.where(stray, Flaw.STRAY_QUOTE, Flaw.UNCLOSED_QUOTE)
    last = np.flatnonzero(is_last)
    return last, flaws[last]


def _flawed(before: Positions, wrong: tuple[list[int], list[int]]) -> Iterator[int]:
    """The lines that are flawed records, from one to the next by the reading that holds."""
    line = phase = 0
    while (following := bisect_left(wrong[phase], line)) < len(wrong[phase]):
        yield wrong[phase][following]
        line = wrong[phase][following] + 1
        phase = int(before[line - 1]) % 2


def _read(
    symbols: Symbols, lines: Positions, quotes: Positions, before: Positions, marks: Marks, phase: int
) -> _Reading:
    last = np.flatnonzero((before & 1) == phase)
    stray = np.zeros(len(lines), np.bool_)
    stray[np.searchsorted(lines, quotes[~_placed(symbols, quotes, marks, phase)], side="right")] = True
    # A record begins on the line after the one that ended the record before it.
    begin = np.concatenate([[0], last + 1])
    wrong = np.zeros(len(lines) + 1, np.bool_)
    wrong[begin[np.searchsorted(last, np.flatnonzero(stray))]] = True
    wrong[begin[-1]] = True
    after = lines[last]
    starts = _begin(after)
    long = np.flatnonzero((after - starts > LARGEST_RECORD) & (np.diff(last, prepend=-1) > 1))
    wrong[begin[long[_lengths(symbols, starts[long], after[long]) > LARGEST_RECORD]]] = True
    return _Reading(last, stray, np.flatnonzero(wrong[:-1]))


def _placed(symbols: Symbols, quotes: Positions, marks: Marks, phase: int) -> Mask:
    """Which quotes stand where an opening or a closing one may: a doubled quote closes the cell and opens it again."""
    padded = np.concatenate([np.array([LF], np.uint8), symbols, np.array([LF, LF], np.uint8)])
    neighbour = np.empty(len(quotes), np.uint8)
    neighbour[phase::2] = padded[quotes[phase::2]]
    neighbour[1 - phase :: 2] = padded[quotes[1 - phase :: 2] + 2]
    fits: Mask = (neighbour == marks.delimiter) | (neighbour == LF) | (neighbour == marks.quote)
    other = np.flatnonzero(~fits)
    fits[other] = (other % 2 != phase) & (neighbour[other] == CR) & (padded[quotes[other] + 3] == LF)
    return fits


def _begin(after: Positions) -> Positions:
    """Where the things begin that end before these positions and follow each other without a gap."""
    starts = np.zeros_like(after)
    starts[1:] = after[:-1]
    return starts


def _lengths(symbols: Symbols, starts: Positions, after: Positions) -> Positions:
    return _stops(symbols, starts, after) - starts


def _stops(symbols: Symbols, starts: Positions, after: Positions) -> Positions:
    """Where the records end without LF or CRLF. A file's last byte may be the CR of a CRLF that was torn apart."""
    stops: Positions = after - ((after > starts) & (symbols[after - 1] == LF))
    stops -= (stops > starts) & (symbols[stops - 1] == CR)
    return stops


def _fields(symbols: Symbols, starts: Positions, after: Positions, marks: Marks, *, paired: bool) -> Positions:
    """How many cells the records have. Unless all quotes are paired, they must be counted from a record's start."""
    delimiting = symbols == marks.delimiter
    quoting = symbols == marks.quote
    if len(starts) and not quoting.any():
        # Bytes add up twice as fast as larger numbers, where they are large enough.
        count = np.uint8 if (after - starts).max() <= np.iinfo(np.uint8).max else np.uint32
        return np.add.reduceat(delimiting.view(np.uint8), starts, dtype=count).astype(np.intp) + 1
    delimiters, quotes = np.flatnonzero(delimiting), np.flatnonzero(quoting)
    inside = np.searchsorted(quotes, delimiters)
    if not paired:
        inside -= np.searchsorted(quotes, starts)[np.searchsorted(after, delimiters, side="right")]
    delimiters = delimiters[(inside & 1) == 0]
    fields: Positions = np.diff(np.searchsorted(delimiters, after), prepend=0) + 1
    return fields
