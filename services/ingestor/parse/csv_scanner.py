"""Finds the records in CSV bytes (RFC 4180). The splitter and the reader share it, so that they agree.

A record with wrong quotes ends with its first line, and the next line begins a new record: a stray quote can't swallow
the rest of a file. In NDJSON every line is a record.
"""

from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.contracts.parts import Dialect

LARGEST_RECORD = 1 << 20
"""Bytes of a record without its line end, and of the search for a closing quote."""

LF, CR = b"\n\r"

Symbols = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Flaw(IntEnum):
    """Why a record can't be split into cells."""

    NONE = 0
    STRAY_QUOTE = 1
    UNCLOSED_QUOTE = 2
    TOO_LARGE = 3


class Separators(NamedTuple):
    """The bytes of the delimiter and the quote."""

    delimiter: int
    quote: int


class RecordEnds(NamedTuple):
    """The ends of all lines, the numbers of those that end a record, and the flaws of the records."""

    lines: Positions
    last: Positions
    flaws: Symbols


class Records(NamedTuple):
    """Records in file order without blank lines: `data[start:stop]`, or `data[start:end]` with the line end."""

    starts: Positions
    stops: Positions
    ends: Positions
    lines: Positions
    """Number of lines before the one on which the record begins."""
    fields: Positions
    """Number of cells; meaningless if the record has a flaw."""
    flaws: Symbols


def separators(dialect: Dialect) -> Separators | None:
    """Returns None for NDJSON, where every line is a record."""
    return Separators(ord(dialect.delimiter), ord(dialect.quote)) if dialect.format == "csv" else None


def find_records(data: bytes, separators: Separators | None) -> Records:
    """Returns the records of whole lines; only the last may lack its line end."""
    symbols = np.frombuffer(data, np.uint8)
    lines, last, flaws = find_ends(data, separators)
    after = lines[last]
    starts, numbers = _starts(after), _starts(last + 1)
    stops = _stops(symbols, starts, after)
    fields = (
        _count_fields(symbols, starts, after, separators, paired=not flaws.any())
        if separators
        else np.zeros_like(starts)
    )
    return keep_records(Records(starts, stops, after, numbers, fields, flaws), stops > starts)


def keep_records(records: Records, kept: Mask) -> Records:
    """Returns some of the records; the others are blank."""
    if kept.all():
        return records
    starts, stops, ends, lines, fields, flaws = records
    return Records(starts[kept], stops[kept], ends[kept], lines[kept], fields[kept], flaws[kept])


def find_ends(data: bytes, separators: Separators | None) -> RecordEnds:
    """Returns the ends of all records; a blank line is a record here.

    The end of a record depends on `LARGEST_RECORD + 2` bytes from its start at most, except that a flawed one ends with
    its first newline.
    """
    symbols = np.frombuffer(data, np.uint8)
    lines = np.flatnonzero(symbols == LF) + 1
    if data and symbols[-1] != LF:
        lines = np.append(lines, len(data))
    if separators and separators.quote in data:
        last, flaws = _find_last_lines(symbols, lines, separators)
    else:
        last, flaws = np.arange(len(lines)), np.zeros(len(lines), np.uint8)
    after = lines[last]
    long = np.flatnonzero(after - _starts(after) > LARGEST_RECORD)
    flaws[long[_lengths(symbols, _starts(after)[long], after[long]) > LARGEST_RECORD]] = Flaw.TOO_LARGE
    return RecordEnds(lines, last, flaws)


class _Interpretation(NamedTuple):
    """The lines under the assumption that opening quotes have an even, or an odd, number of quotes before them."""

    last: Positions
    """Numbers of the lines that end outside a cell."""
    stray: Mask
    """Whether a line has a quote in a wrong place."""
    wrong: Positions
    """Numbers of the lines on which a malformed record begins."""


def _find_last_lines(symbols: Symbols, lines: Positions, separators: Separators) -> tuple[Positions, Symbols]:
    """Returns the numbers of the lines that end a record, and the flaws of those records.

    While all quotes are in their places, a byte is inside a cell if the number of quotes before it is odd. After a
    flawed record it may be the reverse. This makes both interpretations, and chooses one after each flawed record.
    """
    quotes = np.flatnonzero(symbols == separators.quote)
    before = np.searchsorted(quotes, lines)
    even = _interpret(symbols, lines, quotes, before, separators, 0)
    if len(even.wrong) == 0:
        return even.last, np.zeros(len(even.last), np.uint8)
    odd = _interpret(symbols, lines, quotes, before, separators, 1)
    wrong = list(_flawed_lines(before, (even.wrong.tolist(), odd.wrong.tolist())))
    # The line after a flawed record begins outside a cell, so the quotes before it decide which interpretation holds.
    begin = np.array([0, *(line + 1 for line in wrong)])
    phases = np.where(begin > 0, before[begin - 1] % 2, 0)
    valid = np.repeat(phases, np.diff(begin, append=len(lines)))
    is_last = (before & 1) == valid
    is_last[wrong] = True
    stray = np.where(valid[wrong] == 0, even.stray[wrong], odd.stray[wrong])
    flaws = np.zeros(len(lines), np.uint8)
    flaws[wrong] = np.where(stray, Flaw.STRAY_QUOTE, Flaw.UNCLOSED_QUOTE)
    last = np.flatnonzero(is_last)
    return last, flaws[last]


def _flawed_lines(before: Positions, wrong: tuple[list[int], list[int]]) -> Iterator[int]:
    """Yields the lines that are flawed records, each found by the interpretation that holds after the one before."""
    line = phase = 0
    while (following := bisect_left(wrong[phase], line)) < len(wrong[phase]):
        yield wrong[phase][following]
        line = wrong[phase][following] + 1
        phase = int(before[line - 1]) % 2


def _interpret(
    symbols: Symbols, lines: Positions, quotes: Positions, before: Positions, separators: Separators, phase: int
) -> _Interpretation:
    last = np.flatnonzero((before & 1) == phase)
    stray = np.zeros(len(lines), np.bool_)
    stray[np.searchsorted(lines, quotes[~_are_placed(symbols, quotes, separators, phase)], side="right")] = True
    # A record begins on the line after the one that ended the record before it.
    begin = np.concatenate([[0], last + 1])
    wrong = np.zeros(len(lines) + 1, np.bool_)
    wrong[begin[np.searchsorted(last, np.flatnonzero(stray))]] = True
    wrong[begin[-1]] = True
    after = lines[last]
    starts = _starts(after)
    long = np.flatnonzero((after - starts > LARGEST_RECORD) & (np.diff(last, prepend=-1) > 1))
    wrong[begin[long[_lengths(symbols, starts[long], after[long]) > LARGEST_RECORD]]] = True
    return _Interpretation(last, stray, np.flatnonzero(wrong[:-1]))


def _are_placed(symbols: Symbols, quotes: Positions, separators: Separators, phase: int) -> Mask:
    """Returns which quotes are in their places. A doubled quote closes the cell and opens it again."""
    padded = np.concatenate([np.array([LF], np.uint8), symbols, np.array([LF, LF], np.uint8)])
    neighbour = np.empty(len(quotes), np.uint8)
    neighbour[phase::2] = padded[quotes[phase::2]]
    neighbour[1 - phase :: 2] = padded[quotes[1 - phase :: 2] + 2]
    fits: Mask = (neighbour == separators.delimiter) | (neighbour == LF) | (neighbour == separators.quote)
    other = np.flatnonzero(~fits)
    fits[other] = (other % 2 != phase) & (neighbour[other] == CR) & (padded[quotes[other] + 3] == LF)
    return fits


def _starts(after: Positions) -> Positions:
    """Returns the starts of ranges that end at these positions and follow each other without a gap."""
    starts = np.zeros_like(after)
    starts[1:] = after[:-1]
    return starts


def _lengths(symbols: Symbols, starts: Positions, after: Positions) -> Positions:
    return _stops(symbols, starts, after) - starts


def _stops(symbols: Symbols, starts: Positions, after: Positions) -> Positions:
    """Returns the ends of records without LF or CRLF. The last byte of a file may be the CR of a truncated CRLF."""
    stops: Positions = after - ((after > starts) & (symbols[after - 1] == LF))
    stops -= (stops > starts) & (symbols[stops - 1] == CR)
    return stops


def _count_fields(
    symbols: Symbols, starts: Positions, after: Positions, separators: Separators, *, paired: bool
) -> Positions:
    """Counts the cells of each record. Unless all quotes are paired, quotes are counted from the record's start."""
    delimiting = symbols == separators.delimiter
    quoting = symbols == separators.quote
    if len(starts) and not quoting.any():
        # Sums of bytes are twice as fast as those of larger integers, where they suffice.
        count = np.uint8 if (after - starts).max() <= np.iinfo(np.uint8).max else np.uint32
        return np.add.reduceat(delimiting.view(np.uint8), starts, dtype=count).astype(np.intp) + 1
    delimiters, quotes = np.flatnonzero(delimiting), np.flatnonzero(quoting)
    inside = np.searchsorted(quotes, delimiters)
    if not paired:
        inside -= np.searchsorted(quotes, starts)[np.searchsorted(after, delimiters, side="right")]
    delimiters = delimiters[(inside & 1) == 0]
    fields: Positions = np.diff(np.searchsorted(delimiters, after), prepend=0) + 1
    return fields
