"""Elements of JSON arrays, against a scanner that reads byte by byte, and against Python's json."""

import io
import json
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingestor.parse import csv_scanner, json_scanner
from services.ingestor.parse.csv_scanner import Flaw
from services.ingestor.parse.splitter import cut
from shared.contracts.parts import Dialect

TORTURE = st.lists(
    st.sampled_from(
        [
            b'"',
            b"\\",
            b'\\"',
            b",",
            b",",
            b"{",
            b"}",
            b"[",
            b"]",
            b"\n",
            b"\r",
            b" ",
            b"1",
            b'"a"',
            b"{}",
            b'{"a":1}',
            b"\xc3\xa9",
            b"\0",
        ]
    ),
    max_size=60,
).map(b"".join)
LIMITS = st.sampled_from([3, 7, 20, 1 << 20])
SPACE = b" \t\r\n"


class Element(NamedTuple):
    start: int
    stop: int
    end: int
    line: int
    flaw: Flaw


def scan(data: bytes, largest: int) -> list[Element]:
    """The rules once more, as slow and plain as can be."""
    found: list[Element] = []
    at = blanks(data, 0, SPACE + b",")
    rest = closed = data[at : at + 1] == b"]"
    at += closed
    while not closed and (at := blanks(data, at, SPACE + b",")) < len(data):
        if data[at : at + 1] == b"]":
            closed, at = True, at + 1
            continue
        stop, end, flaw, closed = one(data, at, largest)
        content = data[at:stop] if flaw == Flaw.TOO_LARGE else data[at:stop].rstrip(SPACE)
        found.append(Element(at, at + len(content), end, data.count(b"\n", 0, at), flaw))
        at = end
    if rest or (closed and data[at:].strip(SPACE)):
        at = blanks(data, at, SPACE)
        found.append(Element(at, len(data), len(data), data.count(b"\n", 0, at), Flaw.AFTER_END))
    return found


def blanks(data: bytes, at: int, which: bytes) -> int:
    while at < len(data) and data[at] in which:
        at += 1
    return at


def one(data: bytes, at: int, largest: int) -> tuple[int, int, Flaw, bool]:
    """Where the element stops, where the next may begin, what is wrong, and whether the array is closed there."""
    place, kind = walk(data, at)
    newline = data.find(b"\n", at)
    after = min(place + 1, len(data))
    if kind != "open" and place - at <= largest:
        return place, after, Flaw.NONE if kind in (",", "\n", "]") else Flaw.NOT_CLOSED, kind == "]"
    if 0 <= newline <= at + largest:
        return newline, newline + 1, Flaw.NOT_CLOSED, False
    if len(data) - at <= largest:
        return len(data), len(data), Flaw.NOT_CLOSED, False
    if newline >= 0 and newline + 1 < after:
        return newline + 1, newline + 1, Flaw.TOO_LARGE, False
    return after, after, Flaw.TOO_LARGE, kind == "]"


def walk(data: bytes, at: int) -> tuple[int, str]:
    """Where an element ends, as if it could be of any length, and by what."""
    depth, inside, escaped = 0, False, False
    for place in range(at, len(data)):
        symbol = chr(data[place])
        if symbol == "\n":
            if inside or depth == 0:
                return place, "torn" if inside else "\n"
        elif symbol == '"' and not escaped:
            inside = not inside
        elif not inside and symbol in "{[":
            depth += 1
        elif not inside and symbol in "}]":
            if symbol == "]" and depth == 0:
                return place, "]"
            depth = max(0, depth - 1)
        elif symbol == "," and not inside and depth == 0:
            return place, ","
        escaped = symbol == "\\" and not escaped
    return len(data), "end" if depth == 0 and not inside and data[-1:] != b"]" else "open"


def found(data: bytes) -> list[Element]:
    return [
        Element(int(start), int(stop), int(end), int(line), Flaw(flaw))
        for start, stop, end, line, _, flaw in zip(*json_scanner.find(data), strict=True)
    ]


@settings(max_examples=600, deadline=None)
@given(TORTURE, LIMITS, st.sampled_from([5, 11, 1 << 18]))
@example(b'{\n{\n"\n', 3, 5)
@example(b'{"a":"\\\\"},"\\""\n', 1 << 20, 5)
@example(b"{}" * 40 + b"]x", 20, 11)
def test_finds_the_elements_that_a_plain_scanner_finds(data: bytes, largest: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        patch.setattr(json_scanner, "BLOCK", block)
        assert found(data) == scan(data, largest)


@settings(max_examples=600, deadline=None)
@given(TORTURE, LIMITS, st.integers(1, 50), st.sampled_from([b"[", b"\xef\xbb\xbf\r\n ["]))
@example(b'{\n\\]"', 7, 1, b"[")
@example(b'{\n"\n', 3, 1, b"[")
@example(b"{\n],", 3, 1, b"[")
def test_cuts_have_all_elements_of_the_file(data: bytes, largest: int, size: int, before: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        parts = cut_up(before + data, size)
        assert parts == cut_up(before + data, 1 << 20)
        file = scan(data, largest)
    whole = [data[element.start : element.stop] for element in file if element.start < len(data)]
    assert [text for _, text, _ in parts] == whole


def cut_up(data: bytes, size: int) -> list[tuple[int, bytes, Flaw]]:
    pieces = cut(io.BytesIO(data), Dialect(columns=("a",), header=False, format="json"), size=size)
    return [
        (piece.line + element.line, data[piece.start : piece.end][element.start : element.stop], element.flaw)
        for piece in pieces
        for element in found(data[piece.start : piece.end])
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.text('a,"\\[]{}\n é', max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"{', max_size=2), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=8,
    ),
    st.sampled_from([None, 0, 3]),
    st.integers(1, 100),
)
def test_finds_what_the_json_module_writes(values: list[object], indent: int | None, size: int) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    parts = cut_up(data, size)
    assert [json.loads(text) for _, text, _ in parts] == values
    assert {flaw for _, _, flaw in parts} <= {Flaw.NONE}


def test_a_bracket_that_is_never_closed_costs_one_line_of_a_large_array() -> None:
    row = b'{"id": 7, "name": "seven"},\n'
    data = row * 1000 + b'{"id": 8,\n' + row * (csv_scanner.LARGEST_RECORD // len(row) + 1000) + row[:-2] + b"]"
    flawed = [element for element in found(data) if element.flaw]
    assert [(element.line, element.flaw) for element in flawed] == [(1000, Flaw.NOT_CLOSED)]
    assert len(found(data)) == data.count(b"\n") + 1
