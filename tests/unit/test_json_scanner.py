"""Splitting JSON arrays, compared with Python's json; errors in arrays, compared with msgspec."""

import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingestor.parse import csv_scanner, json_scanner, splitter
from services.ingestor.parse.csv_scanner import LARGEST_RECORD, Flaw
from services.ingestor.parse.splitter import ChunkRange, MalformedJson, split
from shared.contracts.parts import Dialect

ARRAY = Dialect(columns=("a",), header=False, format="json")
BOM = b"\xef\xbb\xbf"
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
            b"1",
            b'"a"',
            b'"a":',
            b'"\\ud83d"',
            b"{}",
            b'{"a":1}',
            b'{"a":1},',
            b'{"a":"\\\\"},\n',
            b"\xc3\xa9",
            b"\0",
        ]
    ),
    max_size=40,
).map(b"".join)
VALUES = st.recursive(
    st.none() | st.integers() | st.text('a,"\\[]{}\n é', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"{', max_size=2), inner, max_size=3),
    max_leaves=8,
)
BLOCKS = st.sampled_from([5, 11, 1 << 18])
SIZES = st.integers(1, 100)


def cuts(data: bytes, size: int = 1 << 20) -> list[ChunkRange]:
    return list(split(io.BytesIO(data), ARRAY, size=size))


def found(data: bytes, size: int = 1 << 20) -> list[tuple[int, bytes, Flaw]]:
    """Line, text and flaw of each element, of all cuts one after the other."""
    return [
        (piece.line + int(line), data[piece.start : piece.end][start:stop], Flaw(flaw))
        for piece in cuts(data, size)
        for start, stop, _, line, _, flaw in zip(
            *json_scanner.find_elements(data[piece.start : piece.end]), strict=True
        )
    ]


def refused(data: bytes, size: int = 1 << 20) -> MalformedJson:
    with pytest.raises(MalformedJson) as caught:
        cuts(data, size)
    return caught.value


@pytest.mark.parametrize(
    ("data", "line", "column", "byte", "reason"),
    [
        (b"[1", 1, 3, 2, "the file ends before the array does"),
        (b"[\n\n", 3, 1, 3, "the file ends before the array does"),
        (b'[{"a": 1},\n{"a": 2}\n', 3, 1, 20, "the file ends before the array does"),
        (b'[{"a": 1},\n{"a": 2},', 2, 10, 20, "the file ends before the array does"),
        (b'[{"a": 1},\n{"a": "two', 2, 11, 21, "the file ends before the array does"),
        (b'[{"a": 1}]\n\nx', 3, 1, 12, "expected nothing after the ] that closes the array"),
        (b'[{"a": 1}]]', 1, 11, 10, "expected nothing after the ] that closes the array"),
        (b"[]{", 1, 3, 2, "expected nothing after the ] that closes the array"),
        (b'[{"a": 1}}, {"a": 2}]', 1, 10, 9, "expected ',' or ']'"),
        (b"[1\n}", 2, 1, 3, "expected ',' or ']'"),
        (b'[{"a": 1} {"a": 2}]', 1, 11, 10, "expected ',' or ']'"),
        (b'[{"a": 1}\n{"a": 2}\n]', 2, 1, 10, "expected ',' or ']'"),
        (b'[{"a": [1}, {"a": 2}]', 1, 10, 9, "expected ',' or ']'"),
        (b'[{"a": 1 2}]', 1, 10, 9, "expected ',' or '}'"),
        (b'[{"a": 1,}]', 1, 10, 9, "trailing comma in object"),
        (b'[{"a": 1},\n]', 2, 1, 11, "invalid character"),
        (b'[{"a": 1},\n ,{"a": 2}]', 2, 2, 12, "invalid character"),
        (b"[,1]", 1, 2, 1, "invalid character"),
        (b'[{"a": 01}]', 1, 9, 8, "invalid number"),
        (b'[{"a": NaN}]', 1, 8, 7, "invalid character"),
        (b"[{'a': 1}]", 1, 3, 2, "expected '\"'"),
        (b"[\v1]", 1, 2, 1, "invalid character"),
        (b"[1, tru]", 1, 6, 5, "invalid character"),
        (b'[{"a": "x\ty"}]', 1, 10, 9, "invalid character"),
        (b'[{"a": "x\0y"}]', 1, 10, 9, "invalid character"),
        (b'[{"a": "\\x"}]', 1, 10, 9, "invalid escaped character"),
        (b'[{"a": "\\u12g4"}]', 1, 14, 13, "invalid character in unicode escape"),
        (b'["\\ud83d", "\\ud83d\\x"]', 1, 20, 19, "invalid escaped character"),
        (b'[\n{"a": "x},\n{"a": 2}]', 2, 11, 12, "invalid character"),
        ('[\r\n{"a": "Łódź 🏭" 1}]'.encode(), 2, 16, 24, "expected ',' or '}'"),
        (BOM + "[{'é': 1}]".encode(), 1, 3, 5, "expected '\"'"),
        (BOM + b'\r\n [\r\n{"a": "\xff\xff", x}]', 3, 13, 21, "expected '\"'"),
        (BOM + b"\n {}", 2, 2, 5, "expected '['"),
    ],
)
@pytest.mark.parametrize("size", [1, 30, 1 << 20])
def test_a_malformed_array_is_refused_with_the_place_of_the_mistake(
    data: bytes, line: int, column: int, byte: int, reason: str, size: int
) -> None:
    error = refused(data, size)
    assert (error.line, error.column, error.byte, error.reason) == (line, column, byte, reason)
    assert str(error) == f"{reason} at line {line}, column {column} (byte {byte})"


def test_a_mistake_far_inside_a_large_array_is_found_where_it_is() -> None:
    row = '{"id": 7, "name": "Łódź"},\n'.encode()
    before = b"[\n" + row * 50_000
    for mistake, column in ((b'{"id": 8, "name": "x},\n', 23), (b'{"id": [8, "name": "x"},\n', 18)):
        error = refused(before + mistake + row * 60_000 + b"{}]", size=1 << 19)
        assert (error.line, error.column, error.byte) == (50_002, column, len(before) + column - 1)
    single = before.replace(b"\n", b"")
    error = refused(single + b"x" + row, size=1 << 19)
    assert (error.line, error.column, error.byte) == (1, 2 + 50_000 * 26, len(single))


@settings(max_examples=600, deadline=None)
@given(
    TORTURE,
    SIZES,
    BLOCKS,
    st.sampled_from([10, 1 << 20]),
    st.sampled_from([b"", b"\n ", BOM]),
    st.sampled_from([b"]", b"]\n", b"]]", b""]),
)
@example(b'{"a":1},\\ud83d', 1, 5, 1 << 20, b"", b"]")
@example(b'"\\\\\\"",1', 1, 5, 1 << 20, b"", b"]")
def test_finds_the_mistake_that_msgspec_finds_in_the_whole(
    data: bytes, size: int, block: int, largest: int, before: bytes, after: bytes
) -> None:
    data = before + b"[" + data + after
    byte = mistake(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        patch.setattr(json_scanner, "BLOCK", block)
        patch.setattr(splitter, "BLOCK", block)
        try:
            parts, refusal = found(data, size), None
        except MalformedJson as error:
            parts, refusal = [], error.byte
    if byte is None:
        assert [text for _, text, _ in parts] == [text.rstrip() for text in elements(data.removeprefix(BOM))]
    elif refusal is None:
        # Of an element that is too large, only the beginning is looked at.
        assert Flaw.TOO_LARGE in [flaw for _, _, flaw in parts]
    else:
        assert refusal == byte or (largest == 10 and refusal > byte)


def elements(data: bytes) -> Iterator[bytes]:
    """As they are written, by Python's json, with the blanks behind each."""
    text, at = data.decode("latin-1"), data.index(b"[") + 1
    blank = re.compile(r"[ \t\r\n]*")
    while text[at] != "]":
        at = blank.match(text, at + (text[at] == ",")).end()  # type: ignore[union-attr] # it matches any text
        if text[at] == "]":
            return
        _, stop = json.JSONDecoder().raw_decode(text, at)
        end = blank.match(text, stop).end()  # type: ignore[union-attr] # it matches any text
        yield data[at:end]
        at = end


def mistake(data: bytes) -> int | None:
    """The first byte at which the array can't go on. Halves of surrogate pairs are none."""
    data = data.replace(b"ud83d", b"u0020")
    base = len(BOM) if data.startswith(BOM) else 0
    try:
        msgspec.json.decode(data[base:], type=msgspec.Raw)
    except msgspec.DecodeError as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        if place is None:
            return len(data)
        # Of what follows the array, msgspec names the byte after.
        return base + int(place[1]) - ("trailing characters" in str(error))
    return None


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, max_size=8), st.sampled_from([None, 0, 3]), SIZES, BLOCKS)
def test_finds_what_the_json_module_writes(values: list[object], indent: int | None, size: int, block: int) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_scanner, "BLOCK", block)
        patch.setattr(splitter, "BLOCK", block)
        parts = found(data, size)
    assert [json.loads(text) for _, text, _ in parts] == values
    assert [line for line, _, _ in parts] == sorted(line for line, _, _ in parts)
    assert {flaw for _, _, flaw in parts} <= {Flaw.NONE}


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, max_size=8), st.sampled_from([None, 3]), SIZES, BLOCKS, st.sampled_from([3, 7, 20]))
def test_cuts_hold_whole_elements_and_no_more_than_fit(
    values: list[object], indent: int | None, size: int, block: int, largest: int
) -> None:
    data = json.dumps(values, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_scanner, "BLOCK", block)
        patch.setattr(splitter, "BLOCK", block)
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        pieces, parts = cuts(data, size), found(data, size)
    assert len(parts) == len(values)
    assert [flaw == Flaw.TOO_LARGE for _, _, flaw in parts] == [len(text) > largest for text in elements(data)]
    assert all(not data[one.end : other.start].strip() for one, other in pairwise(pieces))
    for piece in pieces:
        assert piece.line == 1 + data.count(b"\n", 0, piece.start)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
            inside = json_scanner.find_elements(data[piece.start : piece.end])
        assert len(inside.starts) == 1 or piece.end - piece.start <= size


def test_an_element_that_is_too_large_is_passed_by_in_little_memory() -> None:
    endless = b'{"a": [' + b'"x, ]}\\"\\\\",\n ' * 300_000 + b"1]}"
    data = b'[{"a": 1},\n' + endless + b' , {"a": 3}]'
    start, end = 11, 11 + len(endless) + 2
    assert cuts(data, size=1000) == [
        ChunkRange(1, 10, 1),
        ChunkRange(start, end, 2),
        ChunkRange(end + 1, len(data), 300_002),
    ]
    (beginning,) = zip(*json_scanner.find_elements(data[start : start + LARGEST_RECORD + 2]), strict=True)
    assert (beginning[0], beginning[-1]) == (0, Flaw.TOO_LARGE)


def test_a_large_element_that_does_not_end_is_refused_at_the_end_of_the_file() -> None:
    data = b'[{"a": "' + b"x" * (3 * LARGEST_RECORD)
    assert refused(data).byte == len(data)


def test_a_mistake_in_the_beginning_of_what_looks_like_a_large_element_is_found_there() -> None:
    data = b'[{"a": [1}' + b', {"a": 2}' * LARGEST_RECORD + b"]"
    assert refused(data).byte == 9


def test_an_element_that_is_nested_too_deeply_is_no_mistake_of_the_file() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert [text for _, text, _ in found(b"[1," + deep + b",2]")] == [b"1", deep, b"2"]


@pytest.mark.parametrize("data", [b"[]", b" [ \r\n] \n", BOM + b"[\n]"])
def test_an_empty_array_has_no_cuts(data: bytes) -> None:
    assert cuts(data) == []
