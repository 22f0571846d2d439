"""Every record becomes a row or a failed row with the right errors; compared with Python's own readers."""

import csv
import io
import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingestor.parse import csv_scanner, parser, splitter
from services.ingestor.parse.constraints import BadConstraint
from services.ingestor.parse.parser import Batch, count_errors
from services.ingestor.parse.row_errors import FailedRow, RowCountMismatch, RowError
from services.ingestor.parse.splitter import split
from shared.catalog.dataset import Dataset, Field, Partition
from shared.contracts.failures import LONGEST_RAW
from shared.contracts.parts import Dialect

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))
TORTURE = st.lists(
    st.sampled_from(
        [b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"a", b"12,b", b'","', b"\xc3\xa9", b"\xff", b"\0", b" "]
    ),
    max_size=50,
).map(b"".join)


def table(*fields: Field, **more: Any) -> Dataset:
    return Dataset(name="table", title="Table", fields=fields, **more)


def read(
    data: bytes | str, *fields: Field, delimiter: str = ",", quote: str = '"', line: int = 1, **more: Any
) -> Batch:
    columns = tuple(field.name for field in fields)
    dialect = Dialect(columns=columns, header=False, delimiter=delimiter, quote=quote)
    data = data.encode() if isinstance(data, str) else data
    return parse(data, table(*fields, **more), dialect, line=line)


def parse(data: bytes, dataset: Dataset, dialect: Dialect, *, line: int) -> Batch:
    return parser.build_batch(parser.parse(data, dataset, dialect, line=line), now=NOW)


def string(name: str, **more: Any) -> Field:
    return Field(name=name, type="string", **more)


def errors(batch: Batch) -> list[tuple[int, list[tuple[str, str, str | None]]]]:
    return [(row.line, [(error.code, error.column, error.value) for error in row.errors]) for row in batch.failed]


def values(batch: Batch) -> list[Any]:
    return batch.rows.to_series().to_list()


A, B = string("a"), string("b")
ID = Field(name="id", type="integer")


@pytest.mark.parametrize(
    ("data", "rows", "lines"),
    [
        ("1,x\n2,y\n", [(1, "x"), (2, "y")], [1, 2]),
        ("1,x\r\n2,y\r\n", [(1, "x"), (2, "y")], [1, 2]),
        ("1,x\n2,y", [(1, "x"), (2, "y")], [1, 2]),
        ("1,x\r\n2,y\n3,z\r\n", [(1, "x"), (2, "y"), (3, "z")], [1, 2, 3]),
        ("1,x\n\n\r\n2,y\n\n", [(1, "x"), (2, "y")], [1, 4]),
        ("\n\n1,x\n", [(1, "x")], [3]),
        ('1,"x\ny"\n2,z\n', [(1, "x\ny"), (2, "z")], [1, 3]),
        ('1,"x\r\n\r\ny"\r\n2,z\r\n', [(1, "x\r\n\r\ny"), (2, "z")], [1, 4]),
        ('1,"say ""x"", y"\n', [(1, 'say "x", y')], [1]),
        ('1,""""\n', [(1, '"')], [1]),
        ('1,""\n2,\n', [(1, None), (2, None)], [1, 2]),
        ('"1"," x "\n', [(1, " x ")], [1]),
        ("1,\\.\n\\,\n", [(1, "\\.")], [1]),
        ("1,#x\n", [(1, "#x")], [1]),
        ("1,NULL\n", [(1, "NULL")], [1]),
        ("1,a\rb\n", [(1, "a\rb")], [1]),
        ("1,\ufeffx\n", [(1, "\ufeffx")], [1]),
        ("1,größe\u2028\n", [(1, "größe\u2028")], [1]),
        ("", [], []),
        ("\n\r\n", [], []),
    ],
)
def test_reads_rows(data: str, rows: list[tuple[int, str]], lines: list[int]) -> None:
    batch = read(data, ID, A)
    assert batch.rows.rows() == rows
    assert batch.lines.tolist() == lines
    assert batch.rows_read == len(rows) + len(batch.failed)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("x\ny\n", ["x", "y"]),
        ("\n\nx\n\ny\n", ["x", "y"]),
        ('""\nx\n', [None, "x"]),
        (" \nx\n", [" ", "x"]),
        ("\\.\nx\n", ["\\.", "x"]),
        ("#x\n//\n", ["#x", "//"]),
        ("\ufeffx\ny\n", ["\ufeffx", "y"]),
        ('"\ufeff"\n""\n', ["\ufeff", None]),
        ('"x\n\n"\r\ny', ["x\n\n", "y"]),
    ],
)
def test_reads_a_dataset_of_one_column(data: str, expected: list[str | None]) -> None:
    batch = read(data, A)
    assert values(batch) == expected
    assert batch.failed == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_cells_that_are_hard_to_read(newline: str) -> None:
    fields = (Field(name="id", type="integer"), string("größe"), Field(name="about", type="object"), string("note"))
    data = newline.join(
        [
            '1,"12"" x 7""","{""a"": [1, ""x,y""], ""b"": ""\\n""}",',
            f'2,größe ☃ 𝄞,"[]","a{newline}{newline}b, ""c"""',
            ',,,""',
            '3," ","{""a"": ""say \\""x\\""""}",\'',
            "",
        ]
    )
    batch = read(data, *fields)
    assert batch.failed == []
    assert batch.rows.rows() == [
        (1, '12" x 7"', '{"a": [1, "x,y"], "b": "\\n"}', None),
        (2, "größe ☃ 𝄞", "[]", f'a{newline}{newline}b, "c"'),
        (None, None, None, None),
        (3, " ", '{"a": "say \\"x\\""}', "'"),
    ]
    assert batch.lines.tolist() == [1, 2, 5, 6]


def test_columns_that_begin_with_an_underscore_are_read_past() -> None:
    dialect = Dialect(columns=("_line", "b", "_errors", "id", "_line"), header=True)
    batch = parse(b'7,x,"a: ""no""",1,\n8,y,,2\n9,z,,q,"\n"\n', table(ID, A, B), dialect, line=2)
    assert batch.rows.to_dicts() == [{"b": "x", "id": 1}]
    assert errors(batch) == [(3, [("row_length", "", None)]), (4, [("type", "id", "q")])]
    assert batch.failed[0].errors[0].detail == "5 columns expected, 4 found."
    assert batch.failed[1].raw == '9,z,,q,"\n"'


def test_values_that_refer_to_nothing() -> None:
    fields = (
        Field(name="id", type="integer", required=True),
        Field(name="team", type="integer", references="teams.id", maximum=50),
        Field(name="city", type="string", references="cities.name"),
    )
    dialect = Dialect(columns=("id", "team", "city"), header=False)
    data = b"1,7,Ur\n2,99,\n3,,Xy\nq, 99 ,Xy\n4,7\n"
    parsed = parser.parse(data, table(*fields), dialect, line=1)
    assert sorted(parsed.values("team")) == [7, 99]
    assert sorted(parsed.values("city")) == ["Ur", "Xy"]
    unknown = {"team": pl.Series([99]), "city": pl.Series(["Xy"]), "id": pl.Series([], dtype=pl.Int64)}
    batch = parser.build_batch(parsed, now=NOW, unknown=unknown)
    assert batch.rows.rows() == [(1, 7, "Ur")]
    assert errors(batch) == [
        (2, [("maximum", "team", "99"), ("reference", "team", "99")]),
        (3, [("reference", "city", "Xy")]),
        (
            4,
            [
                ("type", "id", "q"),
                ("maximum", "team", " 99 "),
                ("reference", "team", " 99 "),
                ("reference", "city", "Xy"),
            ],
        ),
        (5, [("row_length", "", None)]),
    ]
    assert batch.failed[1].errors[0].detail == "There is no cities.name Xy."
    assert count_errors(batch.failed) == {
        ("maximum", "team"): 2,
        ("reference", "team"): 2,
        ("reference", "city"): 2,
        ("type", "id"): 1,
        ("row_length", ""): 1,
    }
    assert parser.build_batch(parsed, now=NOW).rows.height == 2


def test_a_good_row_can_be_refused_later() -> None:
    batch = read('x,a\n1,"b\n"\n2,c\ny,d\n3,e\n', ID, A)
    taken = RowError("key_exists", "id", "1", "There is one.")
    left = parser.fail_rows(batch, {2: taken, 0: taken})
    assert left.rows.rows() == [(2, "c")]
    assert left.lines.tolist() == [4]
    assert left.rows_read == batch.rows_read == 5
    assert [(row.line, row.raw) for row in left.failed] == [(1, "x,a"), (2, '1,"b\n"'), (5, "y,d"), (6, "3,e")]
    assert left.failed[1] == FailedRow(2, '1,"b\n"', (taken,))
    again = parser.fail_rows(left, {0: taken})
    assert [row.line for row in again.failed] == [1, 2, 4, 5, 6]
    assert again.rows.height == 0
    assert count_errors(again.failed) == {("type", "id"): 2, ("key_exists", "id"): 3}


def test_the_columns_are_those_of_the_file_in_its_order() -> None:
    dialect = Dialect(columns=("b", "id"), header=True, delimiter=";")
    batch = parse(b"x;1\n", table(ID, A, B), dialect, line=2)
    assert batch.rows.to_dicts() == [{"b": "x", "id": 1}]
    assert batch.rows.columns == ["b", "id"]
    assert batch.lines.tolist() == [2]


@pytest.mark.parametrize(
    ("row", "code", "raw"),
    [
        (b'x"y,2', "stray_quote", 'x"y,2'),
        (b'x,y"', "stray_quote", 'x,y"'),
        (b'"x"y,2', "stray_quote", '"x"y,2'),
        (b'"x" ,2', "stray_quote", '"x" ,2'),
        (b'x, "y"', "stray_quote", 'x, "y"'),
        (b'x,"y', "unclosed_quote", 'x,"y'),
        (b'"', "unclosed_quote", '"'),
        (b'x,"""', "unclosed_quote", 'x,"""'),
        (b"x", "row_length", "x"),
        (b"x,y,z", "row_length", "x,y,z"),
        (b"x,\xff", "encoding", "x,\ufffd"),
        (b"\xc3,y", "encoding", "\ufffd,y"),
        (b"x,\xed\xa0\x80", "encoding", "x,\ufffd\ufffd\ufffd"),
        (b"x,y\0z", "nul_byte", "x,y\u2400z"),
    ],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_row_that_can_not_be_read_costs_itself_alone(row: bytes, code: str, raw: str, newline: bytes) -> None:
    batch = read(newline.join([b"a,b", row, b'"c","d"', b""]), A, B, line=10)
    assert batch.rows.rows() == [("a", "b"), ("c", "d")]
    assert batch.lines.tolist() == [10, 12]
    assert [(failed.line, failed.raw, failed.errors[0].code) for failed in batch.failed] == [(11, raw, code)]
    assert [len(failed.errors) for failed in batch.failed] == [1]
    assert batch.failed[0].errors[0].detail.endswith((".", "found."))


def test_a_wrong_quote_in_the_second_line_of_a_row_leaves_two_bad_lines() -> None:
    batch = read('1,"x\ny"z\n2,"good"\n', ID, A)
    assert errors(batch) == [(1, [("unclosed_quote", "", None)]), (2, [("stray_quote", "", None)])]
    assert batch.rows.rows() == [(2, "good")]


def test_all_that_keeps_a_row_from_being_read_is_reported() -> None:
    batch = read(b"x\0\xff\n", A, B)
    assert [code for code, _, _ in errors(batch)[0][1]] == ["encoding", "nul_byte", "row_length"]
    assert batch.failed[0].errors[2].detail == "2 columns expected, 1 found."


def test_all_wrong_values_are_reported() -> None:
    fields = (
        Field(name="id", type="integer", required=True),
        string("name", max_length=3, pattern="^[a-z]+$", enum=("ada", "bob")),
        Field(name="born", type="date"),
    )
    batch = read("x,ADAM,2021-02-30\n,ada,2021-02-28\n3,bob,\n", *fields)
    assert errors(batch) == [
        (
            1,
            [
                ("type", "id", "x"),
                ("too_long", "name", "ADAM"),
                ("enum", "name", "ADAM"),
                ("pattern", "name", "ADAM"),
                ("type", "born", "2021-02-30"),
            ],
        ),
        (2, [("required", "id", None)]),
    ]
    assert [failed.raw for failed in batch.failed] == ["x,ADAM,2021-02-30", ",ada,2021-02-28"]
    assert batch.rows.rows() == [(3, "bob", None)]


def test_failed_rows_stand_in_the_order_of_the_file() -> None:
    batch = read('x,a\n1,"a\n2,b\ny\n3,c\nz,d\n', ID, A)
    assert [(failed.line, failed.errors[0].code) for failed in batch.failed] == [
        (1, "type"),
        (2, "unclosed_quote"),
        (4, "row_length"),
        (6, "type"),
    ]
    assert batch.lines.tolist() == [3, 5]


def test_a_row_of_more_than_a_mebibyte_is_too_large() -> None:
    fits, large = b"x" * csv_scanner.LARGEST_RECORD, b"x" * (csv_scanner.LARGEST_RECORD + 1)
    batch = read(fits + b"\r\n" + large + b'\n"a\n' + large + b'"\nz\n', A)
    assert [(failed.line, failed.errors[0].code) for failed in batch.failed] == [
        (2, "too_large"),
        (3, "unclosed_quote"),
        (4, "too_large"),
    ]
    assert values(batch) == [fits.decode(), "z"]
    assert batch.failed[0].raw == "x" * LONGEST_RAW


def test_the_beginning_of_a_too_large_row_is_enough() -> None:
    data = b"1,2\n" + ("é" * csv_scanner.LARGEST_RECORD).encode() + b"\n3,4\n"
    large = list(split(io.BytesIO(data), Dialect(columns=("a",), header=False), size=1000))[1]
    whole = read(data[large.start : large.end], A, line=large.line)
    beginning = read(data[large.start : large.start + csv_scanner.LARGEST_RECORD + 2], A, line=large.line)
    assert beginning.failed == whole.failed
    assert [failed.errors[0].code for failed in whole.failed] == ["too_large"]
    assert whole.failed[0].raw == "é" * (LONGEST_RAW // 2)


def test_a_shown_value_is_capped() -> None:
    batch = read("é" * 1000 + "\n", string("a", max_length=999))
    assert errors(batch) == [(1, [("too_long", "a", "é" * 200)])]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (string("a", max_length=2), ["éé", "ab"], [("abc", "too_long"), ("ééé", "too_long")]),
        (Field(name="a", type="integer", minimum=2, maximum=4.5), ["2", "4"], [("1", "minimum"), ("5", "maximum")]),
        (Field(name="a", type="integer", minimum=1.5), ["2"], [("1", "minimum")]),
        (Field(name="a", type="integer", maximum=2.0**63), ["9223372036854775807"], [("x", "type")]),
        (Field(name="a", type="integer", enum=("1", "2")), ["1", " 2 "], [("3", "enum")]),
        (Field(name="a", type="number", minimum=0.1), ["0.1"], [("0.09999", "minimum")]),
        (Field(name="a", type="decimal(5,2)", minimum=0.005, maximum=1.1), ["0.01", "1.1"], [("0", "minimum")]),
        (Field(name="a", type="decimal(3,1)", maximum=1000.0), ["99.9"], [("-100.0", "type")]),
        (Field(name="a", type="date", minimum="2000-01-01"), ["2000-01-01"], [("1999-12-31", "minimum")]),
        (
            Field(name="a", type="datetime", maximum="2000-01-01"),
            ["2000-01-01T00:00Z"],
            [("2000-01-01T00:01", "maximum")],
        ),
        (Field(name="a", type="time", minimum="08:00"), ["08:00"], [("07:59:59.9", "minimum")]),
        (string("a", pattern="b+"), ["abbc"], [("ac", "pattern")]),
        (string("a", pattern="^é.$"), ["éa"], [("éab", "pattern"), ("a", "pattern")]),
        (string("a", required=True), ["a"], [('""', "required")]),
    ],
)
def test_constraints(field: Field, good: list[str], bad: list[tuple[str, str]]) -> None:
    cells = good + [cell for cell, _ in bad]
    batch = read("".join(f"{cell},\n" for cell in cells), field, B)
    assert batch.rows.height == len(good)
    assert [failed.errors[0].code for failed in batch.failed] == [code for _, code in bad]


@pytest.mark.parametrize("kind", ["date", "datetime"])
def test_each_year_of_a_partitioned_dataset_becomes_a_table(kind: str) -> None:
    field = Field(name="at", type=kind, required=True)
    tail = "T12:00:00Z" if kind == "datetime" else ""
    data = "".join(f"{year}-06-01{tail}\n" for year in ("1899", "1900", "2200", "2201"))
    batch = read(data, field, partition_by=Partition(field="at", every="year"))
    assert [(line, found[0][0]) for line, found in errors(batch)] == [(1, "minimum"), (4, "maximum")]


def test_the_year_of_a_partition_is_that_in_utc() -> None:
    field = Field(name="at", type="datetime", required=True)
    batch = read("1900-01-01T01:00+02\n", field, partition_by=Partition(field="at", every="year"))
    assert errors(batch) == [(1, [("minimum", "at", "1900-01-01T01:00+02")])]


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        ("string", "x", "x"),
        ("string", "now", "now"),
        ("integer", 5, 5),
        ("number", 1e-7, 1e-7),
        ("decimal(9,7)", 1e-7, Decimal("1E-7")),
        ("boolean", False, False),
        ("date", "2021-01-02", date(2021, 1, 2)),
        ("date", "now", date(2024, 5, 6)),
        ("date", date(2021, 1, 2), date(2021, 1, 2)),
        ("datetime", "now", NOW),
        ("datetime", datetime(2021, 1, 2, 3, tzinfo=UTC), datetime(2021, 1, 2, 3, tzinfo=UTC)),
        ("time", time(1, 2), time(1, 2)),
        ("object", {"a": [1]}, '{"a":[1]}'),
        ("object", [], "[]"),
    ],
)
def test_defaults_stand_for_missing_values(kind: str, default: Any, expected: Any) -> None:
    batch = read('1,\n2,""\n', ID, Field(name="a", type=kind, default=default, required=True))
    assert batch.rows["a"].to_list() == [expected, expected]
    assert batch.failed == []


@pytest.mark.parametrize(
    "field",
    [
        string("a", pattern="(?=x)"),
        string("a", minimum=1),
        Field(name="a", type="integer", default="x"),
        Field(name="a", type="date", minimum="2021-02-30"),
    ],
)
def test_a_declaration_that_can_not_be_applied_is_no_fault_of_the_rows(field: Field) -> None:
    with pytest.raises(BadConstraint, match="'a'"):
        read(",x\n", field, B)


def test_rows_that_got_lost_are_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl, "read_csv", lambda *_, **__: pl.DataFrame({"a": ["x"]}))
    with pytest.raises(RowCountMismatch, match="2 records, 1 rows"):
        read("x\ny\n", A)


MARKS = st.tuples(st.sampled_from(",;\t|^ a\x01"), st.sampled_from("\"'`|b\x02")).filter(
    lambda marks: marks[0] != marks[1]
)
JSON_ROWS = [
    b'{"id":1}', b'{"id":"2","b":"x,]}"}', b'{"id":3, "c":[1,{"a":"]"}]}', b'{"b":"\\"\\\\"}',
    b'{"id":4,\n "b":"xyz"\n}', b'{"no":1}', b'{"id":{}}', b'{"b":"\\u0000"}', b'{"b":"\\ud800"}',
]  # fmt: skip
JSON_PIECES = [
    b",", b",\n", b"\n", b"\r\n", b" ", b"[", b"]", b"{", b"}", b'"', b"\\", b"12", b"null",
    b"\xc3\xa9", b"\xff", b"\0",
]  # fmt: skip
LIMITS = st.sampled_from([4, 12, 40, 1 << 20])
FIELDS = (Field(name="id", type="integer", required=True), string("b", max_length=2), Field(name="c", type="object"))


def chunks(data: bytes, dialect: Dialect, size: int) -> list[Batch]:
    """As the ingestor reads them: of an overlong one only the beginning."""
    overlong = csv_scanner.LARGEST_RECORD + 2
    batches = []
    for piece in split(io.BytesIO(data), dialect, size=size):
        end = piece.start + overlong if piece.end - piece.start > max(size, overlong) else piece.end
        batches.append(parse(data[piece.start : end], table(*FIELDS), dialect, line=piece.line))
    return batches


def assert_all_chunkings_agree(data: bytes, dialect: Dialect, size: int, largest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scanner, "LARGEST_RECORD", largest)
        wholes, parts = chunks(data, dialect, 1 << 20), chunks(data, dialect, size)
    whole, part = [row for batch in wholes for row in batch.failed], [row for batch in parts for row in batch.failed]
    assert [row for batch in parts for row in batch.rows.rows()] == [
        row for batch in wholes for row in batch.rows.rows()
    ]
    assert [line for batch in parts for line in batch.lines] == [line for batch in wholes for line in batch.lines]
    assert [(row.line, row.errors) for row in part] == [(row.line, row.errors) for row in whole]
    assert all(text.raw.startswith(beginning.raw.rstrip("\ufffd")) for beginning, text in zip(part, whole, strict=True))
    for batch in wholes + parts:
        assert batch.rows_read == batch.rows.height + len(batch.failed)
        assert sum(count_errors(batch.failed).values()) >= len(batch.failed)


@settings(max_examples=400, deadline=None)
@given(TORTURE, MARKS, st.integers(1, 40), LIMITS)
def test_the_chunks_of_a_file_give_what_the_whole_gives(
    data: bytes, marks: tuple[str, str], size: int, largest: int
) -> None:
    delimiter, quote = marks
    data = data.translate(bytes.maketrans(b',"', "".join(marks).encode()))
    dialect = Dialect(columns=("id", "_line", "b"), header=False, delimiter=delimiter, quote=quote)
    assert_all_chunkings_agree(data, dialect, size, largest)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(JSON_ROWS + JSON_PIECES), max_size=25).map(b"".join), st.integers(1, 60), LIMITS)
def test_so_do_the_chunks_of_ndjson(data: bytes, size: int, largest: int) -> None:
    dialect = Dialect(columns=("id", "b", "c"), header=False, format="ndjson")
    assert_all_chunkings_agree(data, dialect, size, largest)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from([*JSON_ROWS, b"[]", b"12", b"null", b'"]"', b'{"b":"\xff"}']), max_size=12),
    st.sampled_from([b"", b"\xef\xbb\xbf\r\n "]),
    st.sampled_from([b",", b",\n", b"\n\t, ", b" " * 50 + b","]),
    st.sampled_from([b"]", b"\n]\n", b" " * 50 + b"]" + b" " * 50]),
    st.integers(1, 60),
    LIMITS,
)
@example([b'{"id":1}'], b"", b",", b" " * 50 + b"]", 1, 12)
def test_so_do_the_chunks_of_an_array(
    rows: list[bytes], before: bytes, between: bytes, after: bytes, size: int, largest: int
) -> None:
    dialect = Dialect(columns=("id", "b", "c"), header=False, format="json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitter, "BLOCK", size)
        assert_all_chunkings_agree(before + b"[" + between.join(rows) + after, dialect, size, largest)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(*[st.text(st.sampled_from("abé\",;\n\r \\.\ufeff#'\t"), max_size=6)] * 3), max_size=30),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(['"', "'", "#", "^"]),
    st.sampled_from(["\n", "\r\n"]),
)
@example([("\ufeff", "", "")], ",", '"', "\n")
def test_reads_what_the_csv_module_writes(
    rows: list[tuple[str, str, str]], delimiter: str, quote: str, newline: str
) -> None:
    text = io.StringIO(newline="")
    style: Any = {"delimiter": delimiter, "quotechar": quote, "lineterminator": newline}
    csv.writer(text, **style, quoting=csv.QUOTE_ALL).writerows(rows[::2])
    # The module doesn't quote a lone CR, at which its reader would end the row.
    plain = [tuple(cell.replace("\r", "") for cell in row) for row in rows[1::2]]
    csv.writer(text, **style).writerows(plain)
    data = text.getvalue()
    expected = list(csv.reader(io.StringIO(data, newline=""), delimiter=delimiter, quotechar=quote, strict=True))
    batch = read(data, A, B, string("c"), delimiter=delimiter, quote=quote)
    assert batch.failed == []
    assert batch.rows.rows() == [tuple(cell or None for cell in row) for row in expected]


def test_a_large_text_of_quoted_newlines_is_read_as_the_csv_module_reads_it() -> None:
    rows = [[str(number), 'x,"y"\n' * (number % 7), "z" * (number % 50)] for number in range(60_000)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    batch = read(text.getvalue(), A, B, string("c"))
    assert batch.rows.rows() == [tuple(cell or None for cell in row) for row in rows]


class Refused(Exception):
    pass


def oracle(kind: str, cell: str) -> Any:
    """What a cell means, by the words of the documentation and without polars."""
    try:
        return ORACLES[kind](cell if kind == "object" else cell.strip(" "))
    except (ValueError, OverflowError, ArithmeticError, RecursionError) as error:
        raise Refused from error


def matched(pattern: str, text: str) -> re.Match[str]:
    match = re.fullmatch(pattern, text, re.ASCII)
    if match is None:
        raise ValueError(text)
    return match


def whole_number(text: str) -> int:
    number = int(matched(r"[+-]?\d+", text)[0])
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


def number(text: str) -> float:
    value = float(matched(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text)[0])
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def money(text: str) -> Decimal:
    value = Decimal(matched(r"[+-]?(\d+\.?\d*|\.\d+)", text)[0])
    if abs(value) >= 1000 or value != value.quantize(Decimal("0.01")):
        raise ValueError(text)
    return value


def boolean(text: str) -> bool:
    return text.lower() in matched("(true|t|yes|y|1)|(?:false|f|no|n|0)", text.lower()).groups()


def day(text: str) -> date:
    return date.fromisoformat(matched(r"\d{4}-\d\d-\d\d", text)[0])


def clock(text: str) -> time:
    match = matched(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?", text)
    return time(int(match[1]), int(match[2]), int(match[3] or 0), int((match[4] or "").ljust(6, "0")))


def moment(text: str) -> datetime:
    match = matched(r"(\S{10})[T ]([^Z+-]+)(Z|[+-]\d\d(?::?\d\d)?)?", text)
    offset = timedelta(0)
    if match[3] and match[3] != "Z":
        ahead = clock(f"{match[3][1:3]}:{match[3][3:].strip(':') or '00'}")
        offset = timedelta(hours=ahead.hour, minutes=ahead.minute) * (-1 if match[3][0] == "-" else 1)
    return datetime.combine(day(match[1]), clock(match[2]), UTC) - offset


def uuid(text: str) -> str:
    return matched("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text)[0].lower()


def json_object(text: str) -> str:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    value = json.loads(text, parse_constant=refuse)
    if not isinstance(value, dict | list) or "\\u0000" in json.dumps(value, allow_nan=False).replace("\\\\", ""):
        raise ValueError(text)
    return text


ORACLES: dict[str, Any] = {
    "integer": whole_number,
    "number": number,
    "decimal(5,2)": money,
    "boolean": boolean,
    "date": day,
    "datetime": moment,
    "time": clock,
    "uuid": uuid,
    "object": json_object,
}
ISO_DAYS = st.dates().map(date.isoformat)
CLOCKS = st.times().map(time.isoformat) | st.builds("{:02}:{:02}".format, st.integers(0, 25), st.integers(0, 61))
OFFSETS = st.sampled_from(["", "Z", "+00:00", "-0330", "+05", "+24:00", "-12:60", "z", " Z", "+1"])
LIKELY: dict[str, st.SearchStrategy[str]] = {
    "integer": st.integers(-(2**64), 2**64).map(str) | st.from_regex(r"\A[+-]?0{0,3}[0-9]{1,20}\Z"),
    "number": st.floats().map(str) | st.from_regex(r"\A[+-]?[0-9]{0,3}\.?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?\Z"),
    "decimal(5,2)": st.from_regex(r"\A[+-]?0{0,2}[0-9]{0,4}\.?[0-9]{0,3}0{0,3}\Z"),
    "boolean": st.sampled_from(["true", "TRUE", "t", "Yes", "y", "1", "false", "F", "no", "N", "0", "on", "01", "tru"]),
    "date": ISO_DAYS | st.builds("{:04}-{:02}-{}".format, st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)),
    "datetime": st.builds("{}{}{}{}".format, ISO_DAYS, st.sampled_from(["T", " ", "t"]), CLOCKS, OFFSETS),
    "time": CLOCKS,
    "uuid": st.uuids().map(str)
    | st.uuids().map(lambda value: str(value).upper())
    | st.uuids().map(lambda value: value.hex),
    "object": st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text('aé"\\\0u0', max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
        max_leaves=5,
    ).map(json.dumps),
}
NOISE = st.sampled_from(
    [" ", "  ", "+", "-", ".", "0", "9", "x", "\n", "\t", "_", "é", "٣", "Z", ":", "e", "}", '"', "0000"]
)


@st.composite
def cells(draw: st.DrawFn, kind: str) -> str:
    """A cell that is of the type, or nearly."""
    cell = draw(LIKELY[kind])
    if draw(st.booleans()):
        place, noise = draw(st.integers(0, len(cell))), draw(NOISE)
        cell = cell[:place] + noise + cell[place + draw(st.integers(0, 2)) :]
    return cell


@pytest.mark.parametrize("kind", list(ORACLES))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_values_are_what_the_oracle_says(kind: str, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(cells(kind).filter(bool), min_size=1, max_size=40))
    good, bad = [], []
    for cell in drawn:
        try:
            good.append(oracle(kind, cell))
        except Refused:
            bad.append(cell)
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([cell] for cell in drawn)
    batch = read(text.getvalue(), Field(name="a", type=kind))
    assert values(batch) == good
    assert [found for _, found in errors(batch)] == [[("type", "a", cell[:200])] for cell in bad]


@pytest.mark.parametrize(
    ("kind", "cell", "accepted"),
    [
        ("integer", "\uff11", False),
        ("integer", "1.0", False),
        ("integer", "9223372036854775808", False),
        ("number", "NaN", False),
        ("number", "-inf", False),
        ("number", "1e400", False),
        ("decimal(5,2)", "1.005", False),
        ("decimal(5,2)", "1.000", True),
        ("decimal(5,2)", "1000", False),
        ("decimal(5,2)", "1e2", False),
        ("decimal(38,0)", "9" * 38, True),
        ("decimal(38,38)", "." + "9" * 38, True),
        ("decimal(38,38)", "1", False),
        ("date", "2021-02-29", False),
        ("date", "2020-02-29", True),
        ("date", "1900-02-29", False),
        ("date", "0000-01-01", False),
        ("date", "2021-1-7", False),
        ("datetime", "2021-11-07", False),
        ("datetime", "2021-11-07T24:00:00Z", False),
        ("datetime", "2021-11-07T23:59:60Z", False),
        ("datetime", "+2021-1-07T02:48:42Z", False),
        ("datetime", "2021-11-07T02:48: 2Z", False),
        ("datetime", "2021-11-07T02:48:42.1234567Z", False),
        ("datetime", "0001-01-01T00:00:00+00:01", False),
        ("datetime", "9999-12-31T23:59:59-00:01", False),
        ("datetime", "9999-12-31T23:59:59Z", True),
        ("object", '{"id": "123e7e-1234"}', True),
        ("object", "[1e-20000]", False),
        ("object", "[1e999]", False),
        ("object", '["\\\\u0000"]', True),
        ("object", '["\\u0000"]', False),
        ("object", '["\\ud800"]', False),
        ("object", "[" * 5000 + "]" * 5000, False),
        ("object", '"text"', False),
        ("object", "1", False),
    ],
)
def test_values_at_the_edges(kind: str, cell: str, accepted: bool) -> None:  # noqa: FBT001 - a table of cases
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([cell])
    assert read(text.getvalue(), Field(name="a", type=kind)).rows.height == accepted


def test_decimals_stay_exact() -> None:
    field = Field(name="a", type="decimal(38,2)")
    assert values(read("123456789012345678901234567890123456.78\n", field)) == [
        Decimal("123456789012345678901234567890123456.78")
    ]


def test_undecodable_rows_among_many_good_ones() -> None:
    rows = [b"\xc3\xa9,\xff" if number % 3 == 0 else b"\xc3\xa9,x" for number in range(3000)]
    batch = read(b"\n".join(rows), A, B)
    assert [failed.line for failed in batch.failed] == list(range(1, 3001, 3))
    assert batch.rows.height == 2000
