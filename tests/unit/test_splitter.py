"""Record ends, compared with a byte-by-byte scanner; chunk ends, compared with the record ends of the file."""

import io
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingestor.parse import csv_scanner
from services.ingestor.parse.csv_scanner import Flaw
from services.ingestor.parse.splitter import ChunkRange, split
from shared.contracts.parts import Dialect

HEADERLESS = Dialect(columns=("a", "b"), header=False)
HEADED = Dialect(columns=("a", "b"), header=True)
TORTURE = st.lists(
    st.sampled_from(
        [b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"a", b"12", b'","', b'"\n"', b"\xc3\xa9", b"\xff", b"\0"]
    ),
    max_size=60,
).map(b"".join)
LIMITS = st.sampled_from([3, 7, 20, 1 << 20])


class Record(NamedTuple):
    start: int
    stop: int
    end: int
    line: int
    fields: int
    flaw: Flaw


def scan(data: bytes, delimiter: bytes, largest: int) -> list[Record]:
    """The grammar once more, as slow and plain as can be."""
    found = []
    start = line = 0
    while start < len(data):
        end, fields, flaw = _one(data, delimiter, start, largest)
        content = data[start:end].removesuffix(b"\n").removesuffix(b"\r")
        if len(content) > largest:
            flaw = Flaw.TOO_LARGE
        if content:
            found.append(Record(start, start + len(content), end, line, fields, flaw))
        line += data.count(b"\n", start, end)
        start = end
    return found


def _one(data: bytes, delimiter: bytes, start: int, largest: int) -> tuple[int, int, Flaw]:
    newline = data.find(b"\n", start)
    first_line = len(data) if newline < 0 else newline + 1
    at, fields = start, 0
    while fields == 0 or data[at : at + 1] == delimiter:
        at, fits = _cell(data, delimiter, at + min(1, fields))
        fields += 1
        if not fits:
            return first_line, fields, Flaw.STRAY_QUOTE if at < first_line else Flaw.UNCLOSED_QUOTE
    end = min(at + 1, len(data))
    content = data[start:end].removesuffix(b"\n").removesuffix(b"\r")
    if len(content) > largest and end > first_line:
        return first_line, fields, Flaw.UNCLOSED_QUOTE
    return end, fields, Flaw.NONE


def _cell(data: bytes, delimiter: bytes, at: int) -> tuple[int, bool]:
    """Where the cell ends, at a delimiter, a newline or the end of the file; or where it turns out to be wrong."""
    if data[at : at + 1] != b'"':
        while data[at : at + 1] not in (delimiter, b"\n", b'"', b""):
            at += 1
        return at, data[at : at + 1] != b'"'
    at += 1
    while data[at : at + 1] != b'"' or data[at : at + 2] == b'""':
        if at >= len(data):
            return len(data), False
        at += 2 if data[at : at + 2] == b'""' else 1
    at += 1
    if data[at : at + 2] in (b"\r\n", b"\r"):
        at += 1
    return at, data[at : at + 1] in (delimiter, b"\n", b"")


def found(data: bytes, delimiter: str = ",") -> list[Record]:
    rows = zip(*csv_scanner.find_records(data, csv_scanner.Separators(ord(delimiter), ord('"'))), strict=True)
    return [
        Record(int(start), int(stop), int(end), int(line), int(fields), Flaw(flaw))
        for start, stop, end, line, fields, flaw in rows
    ]


def comparable(all_records: list[Record]) -> list[Record]:
    return [record._replace(fields=record.fields if record.flaw == Flaw.NONE else 0) for record in all_records]


@settings(max_examples=600, deadline=None)
@given(TORTURE, LIMITS, st.sampled_from([",", ";", "\t", "^", "]"]))
@example(b'1,"a""b"\r\n2,"x\ny"', 1 << 20, ",")
@example(b'1,"a\n2,"b",3\n4,5\n', 1 << 20, ",")
@example(b'"\n""\n', 1 << 20, ",")
@example(b'"a"\r', 1 << 20, ",")
def test_finds_the_records_that_a_plain_scanner_finds(data: bytes, largest: int, delimiter: str) -> None:
    data = data.replace(b",", delimiter.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        assert comparable(found(data, delimiter)) == comparable(scan(data, delimiter.encode(), largest))


@settings(max_examples=600, deadline=None)
@given(TORTURE, st.integers(1, 50), LIMITS)
@example(b'1,"a\n2,b"\n3,"c"\n', 5, 1 << 20)
@example(b"a" * 70 + b"\nb\n", 4, 7)
@example(b"\n" * 70, 4, 7)
def test_cuts_tile_the_file_at_record_ends(data: bytes, size: int, largest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        cuts = list(split(io.BytesIO(data), HEADERLESS, size=size))
        whole = found(data)
        assert b"".join(data[piece.start : piece.end] for piece in cuts) == data
        for piece in cuts:
            assert piece.start < piece.end
            assert piece.line == 1 + data.count(b"\n", 0, piece.start)
        parts = [
            record._replace(
                start=record.start + piece.start,
                stop=record.stop + piece.start,
                end=record.end + piece.start,
                line=record.line + piece.line - 1,
            )
            for piece in cuts
            for record in found(data[piece.start : piece.end])
        ]
        assert comparable(parts) == comparable(whole)


@pytest.mark.parametrize(
    ("data", "dialect", "expected"),
    [
        (b"", HEADERLESS, []),
        (b"", HEADED, []),
        (b"\xef\xbb\xbf", HEADED, []),
        (b"1,2\n", HEADERLESS, [ChunkRange(0, 4, 1)]),
        (b"1,2", HEADERLESS, [ChunkRange(0, 3, 1)]),
        (b"\xef\xbb\xbf1,2\n", HEADERLESS, [ChunkRange(3, 7, 1)]),
        (b"a,b\n1,2\n", HEADED, [ChunkRange(4, 8, 2)]),
        (b"a,b", HEADED, []),
        (b'\xef\xbb\xbf\r\n\n"a\nx",b\r\n1,2\r\n', HEADED, [ChunkRange(15, 20, 5)]),
        (b"1,2\n3,4\n5,6\n", HEADERLESS, [ChunkRange(0, 8, 1), ChunkRange(8, 12, 3)]),
        (b'1,"\n\n\n\n\n\n"\n5,6\n', HEADERLESS, [ChunkRange(0, 11, 1), ChunkRange(11, 15, 8)]),
    ],
)
def test_cuts_after_bom_and_header(data: bytes, dialect: Dialect, expected: list[ChunkRange]) -> None:
    assert list(split(io.BytesIO(data), dialect, size=9)) == expected


def test_a_line_without_an_end_is_a_cut_of_its_own() -> None:
    endless = b"x" * (3 * csv_scanner.LARGEST_RECORD)
    data = b"1,2\n" + endless + b"\n3,4\n"
    end = len(data) - 4
    assert list(split(io.BytesIO(data), HEADERLESS, size=1000)) == [
        ChunkRange(0, 4, 1),
        ChunkRange(4, end, 2),
        ChunkRange(end, end + 4, 3),
    ]


def test_a_quote_that_is_never_closed_costs_one_row_of_a_large_file() -> None:
    row = b'7,"seven"\n'
    data = row * 1000 + b'8,"eight\n' + b"9,nine\n" * (csv_scanner.LARGEST_RECORD // 7 + 1000) + row * 1000
    flaws = [record for record in found(data) if record.flaw]
    assert [(record.line, record.flaw) for record in flaws] == [(1000, Flaw.UNCLOSED_QUOTE)]
    assert len(found(data)) == data.count(b"\n")
