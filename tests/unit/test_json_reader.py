"""JSON objects as rows: every value as written, every mistake reported; compared with Python's json."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingestor.parse import csv_scanner, parser
from services.ingestor.parse.parser import Batch
from shared.catalog.dataset import Dataset, Field
from shared.contracts.parts import Dialect, Format

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
PEOPLE = Dataset(
    name="people",
    title="People",
    fields=(
        Field(name="number", type="integer", generated=True),
        Field(name="id", type="integer", required=True),
        Field(name="name", type="string", max_length=5),
        Field(name="paid", type="decimal(38,2)"),
        Field(name="about", type="object"),
        Field(name="active", type="boolean", default=True),
    ),
)
FIELDS = ("id", "name", "paid", "about", "active")


def read(data: bytes | str, form: Format = "ndjson", dataset: Dataset = PEOPLE, line: int = 1) -> Batch:
    columns = tuple(field.name for field in dataset.input_fields)
    data = data.encode() if isinstance(data, str) else data
    parsed = parser.parse(data, dataset, Dialect(columns=columns, header=False, format=form), line=line)
    return parser.build_batch(parsed, now=NOW)


def errors(batch: Batch) -> list[tuple[int, list[tuple[str, str, str | None]]]]:
    return [(row.line, [(error.code, error.column, error.value) for error in row.errors]) for row in batch.failed]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"id": 1}', (1, None, None, None, True)),
        ('{"id": 1, "name": null, "active": null}', (1, None, None, None, True)),
        ('{"id": "1", "active": "no"}', (1, None, None, None, False)),
        ('{"id": 1, "active": false, "name": ""}', (1, "", None, None, False)),
        ('{"id": 1, "name": 3.10}', (1, "3.10", None, None, True)),
        ('{"id": 1, "name": true}', (1, "true", None, None, True)),
        ('{"id": 1, "name": "a,]"}', (1, "a,]", None, None, True)),
        (r'{"id": 1, "name": "\"\\\n\ud83d\ude00"}', (1, '"\\\n😀', None, None, True)),
        ('{"id": 9223372036854775807}', (2**63 - 1, None, None, None, True)),
        ('{"id": 1, "paid": 123456789012345678901234567890123456.78}',
         (1, None, Decimal("123456789012345678901234567890123456.78"), None, True)),
        ('{"id": 1, "paid": 0.10}', (1, None, Decimal("0.10"), None, True)),
        ('{"id": 1, "about": {"a": [1.10, "x"]}}', (1, None, None, '{"a": [1.10, "x"]}', True)),
        ('{"id": 1, "about": []}', (1, None, None, "[]", True)),
        ('{"id": 1, "_line": 7, "_errors": {"a": 1}}', (1, None, None, None, True)),
        ('{"id": 1, "id": 2}', (2, None, None, None, True)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["ndjson", "json"])
def test_values(row: str, expected: tuple[Any, ...], form: Format) -> None:
    # Beside others of other kinds, which are read in another way.
    others = ['{"id": 7, "name": "x", "about": {}}', '{"id": 8, "name": 1, "active": "t"}']
    for rows in ([row], [row, *others]):
        batch = read((",\n" if form == "json" else "\n").join([*rows, ""]), form)
        assert batch.failed == []
        assert batch.rows.rows()[0] == expected
        assert batch.rows.columns == list(FIELDS)
        assert batch.rows.height == len(rows)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("[1]", [("not_an_object", "", None)]),
        ('"x"', [("not_an_object", "", None)]),
        ("null", [("not_an_object", "", None)]),
        ("7", [("not_an_object", "", None)]),
        ('{"id": 1', [("invalid_json", "", None)]),
        ('{"id": 01}', [("invalid_json", "", None)]),
        ('{"id": 1,}', [("invalid_json", "", None)]),
        ('{"id": NaN}', [("invalid_json", "", None)]),
        ("{'id': 1}", [("invalid_json", "", None)]),
        ("id,name", [("invalid_json", "", None)]),
        ('{"id": 1} {"id": 2}', [("invalid_json", "", None)]),
        ('{"id": ' + "[" * 5000 + "]" * 5000 + "}", [("invalid_json", "", None)]),
        (r'{"id": 1, "name": "\ud800"}', [("encoding", "", None)]),
        (r'{"id": 1, "\udc00": 1}', [("encoding", "", None)]),
        (r'{"id": NaN, "name": "\ud800"}', [("invalid_json", "", None)]),
        (b'{"id": 1, "name": "\xff"}', [("encoding", "", None)]),
        (b'{"id": 1, "name": "\0"}', [("nul_byte", "", None)]),
        (b'{"id": "\0\xff"}', [("encoding", "", None), ("nul_byte", "", None)]),
        (r'{"id": 1, "name": "a\u0000b"}', [("nul_byte", "name", "a\u2400b")]),
        (r'{"id": 1, "about": {"a": "\u0000"}}', [("type", "about", r'{"a": "\u0000"}')]),
        (r'{"id": 1, "about": "\u0000"}', [("nul_byte", "about", "\u2400")]),
        ('{"id": 1, "nmae": "x"}', [("unknown_field", "nmae", '"x"')]),
        ('{"id": 1, "number": 4}', [("unknown_field", "number", "4")]),
        (r'{"id": 1, "": null, "\u0000": 1}', [("unknown_field", "", "null"), ("unknown_field", "\u2400", "1")]),
        ('{"id": [1]}', [("type", "id", "[1]")]),
        ('{"id": 1, "name": {"a": "long"}}', [("type", "name", '{"a": "long"}')]),
        ('{"id": 1.0}', [("type", "id", "1.0")]),
        ('{"id": ""}', [("type", "id", "")]),
        ('{"id": 1, "paid": 0.001}', [("type", "paid", "0.001")]),
        ('{"id": 1, "about": 1}', [("type", "about", "1")]),
        ('{"id": null}', [("required", "id", None)]),
        ("{}", [("required", "id", None)]),
        ('{"id": 1, "name": "abcdef"}', [("too_long", "name", "abcdef")]),
        (
            '{"id": {}, "name": "abcdef", "x": 1, "active": 2}',
            [
                ("unknown_field", "x", "1"),
                ("type", "id", "{}"),
                ("too_long", "name", "abcdef"),
                ("type", "active", "2"),
            ],
        ),
    ],
)
def test_a_row_that_is_refused_costs_itself_alone(row: str | bytes, found: list[tuple[str, str, str | None]]) -> None:
    row = row.encode() if isinstance(row, str) else row
    data = b'{"id": 10}\n' + row + b'\n{"id": 30}\r\n'
    batch = read(data, line=5)
    assert errors(batch) == [(6, found)]
    assert batch.rows["id"].to_list() == [10, 30]
    assert batch.lines.tolist() == [5, 7]
    assert batch.failed[0].raw == row.decode(errors="replace").replace("\0", "\u2400")
    assert all(error.detail.endswith(".") for error in batch.failed[0].errors)


def test_nothing_of_a_postgres_text_is_a_nul() -> None:
    batch = read(rb'{"id": "\u0000", "\u0000": "\u0000", "name": "\u0000"}' + b"\0\n" + rb'{"id": "\u0000"}')
    assert "\0" not in "".join(row.raw for row in batch.failed)
    assert "\0" not in "".join(f"{e.column}{e.value}{e.detail}" for row in batch.failed for e in row.errors)


def test_blank_lines_are_no_rows() -> None:
    batch = read('\n \t\n{"id": 1}\r\n\r\n  {"id": 2}  \n \r\n')
    assert batch.rows["id"].to_list() == [1, 2]
    assert batch.lines.tolist() == [3, 5]
    assert batch.rows_read == 2


def test_a_long_row_is_too_large() -> None:
    large = b'{"id": 1, "name": "' + b"x" * csv_scanner.LARGEST_RECORD + b'"}'
    forms: list[tuple[Format, bytes]] = [("ndjson", b"\n"), ("json", b", ")]
    for form, between in forms:
        batch = read(between.join([b'{"id": 0}', large, b'{"id": 2}', b""]), form)
        assert [code for _, found in errors(batch) for code, _, _ in found] == ["too_large"]
        assert batch.rows["id"].to_list() == [0, 2]


@pytest.mark.parametrize(
    ("data", "good", "failed"),
    [
        ('{"id": 1}, {"id": 2}]', [1, 2], []),
        ('{"id": 1},{"id": 2}\n]\n', [1, 2], []),
        ('{"id": 1}\n,{"id": 2}\n,{"id": 3}]', [1, 2, 3], []),
        ('{"id": 1},\n', [1], []),
        ('[1], "x",\n{"id": 2}, null]', [2],
         [(1, "not_an_object", "[1]"), (1, "not_an_object", '"x"'), (2, "not_an_object", "null")]),
        ('{"id": [\n1, 2]}, {"id": 3},\n{}]', [3], [(1, "type", '{"id": [\n1, 2]}'), (3, "required", "{}")]),
        (r'{"id": 1, "name": "\ud83d"}, {"id": 2}]', [2], [(1, "encoding", r'{"id": 1, "name": "\ud83d"}')]),
        (b'{"id": 1, "name": "\xff"}, {"id": 2}]', [2], [(1, "encoding", '{"id": 1, "name": "\ufffd"}')]),
        ("[" * 5000 + "]" * 5000 + ',{"id": 2}]', [2], [(1, "invalid_json", "[" * 5000 + "]" * 5000)]),
    ],
)  # fmt: skip
def test_elements_that_are_no_good_rows_cost_themselves_alone(
    data: str | bytes, good: list[int], failed: list[tuple[int, str, str]]
) -> None:
    batch = read(data, "json")
    assert batch.rows["id"].to_list() == good
    assert [(row.line, row.errors[0].code, row.raw) for row in batch.failed] == failed


def test_elements_of_one_line_have_its_number_and_their_own_text() -> None:
    batch = read('\n {"id": 1}, {"id": "x"},\n{"id": "y"}, {"id": 2}]', "json", line=3)
    assert batch.lines.tolist() == [4, 5]
    assert [(row.line, row.raw) for row in batch.failed] == [(4, '{"id": "x"}'), (5, '{"id": "y"}')]


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
)  # fmt: skip
ALPHABET = Dataset(name="abc", title="ABC", fields=tuple(Field(name=name, type="string") for name in "abc"))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "_d"]), SCALARS), max_size=12),
    st.sampled_from([None, 0, 2]),
    st.sampled_from([{"ensure_ascii": False}, {"sort_keys": True, "separators": (",", ":")}]),
)
def test_reads_what_the_json_module_writes(
    rows: list[dict[str, Any]], indent: int | None, style: dict[str, Any]
) -> None:
    def plain(**written: Any) -> str | None:
        (value,) = json.loads(json.dumps(written), parse_int=str, parse_float=str).values()
        return value if value is None or isinstance(value, str) else json.dumps(value)

    expected = [tuple(plain(value=row.get(name)) for name in "abc") for row in rows]
    array = json.dumps(rows, indent=indent, **style).removeprefix("[").removesuffix("]" * (not rows))
    lines = "".join(json.dumps(row, **style) + "\n" for row in rows)
    for batch in (read(array, "json", ALPHABET), read(lines, "ndjson", ALPHABET)):
        assert batch.failed == []
        assert batch.rows.rows() == expected
