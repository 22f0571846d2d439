"""Failed rows as CSV: unchanged cells come back as they were, rows that can't be split stay whole."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.failed_rows.csv_file import UNSPLIT_CODES, FailedRowsCsv
from services.ingestor.parse import row_errors
from shared.catalog.dataset import Dataset, Field
from shared.contracts import failures
from shared.contracts.parts import Dialect
from shared.reads.ingestor.failed_rows import FailedRow

NAMES = ("id", "name", "note")
DATASET = Dataset(
    name="people",
    title="People",
    fields=(
        Field(name="id", type="integer", required=True),
        Field(name="name", type="string", required=True),
        Field(name="note", type="string"),
        Field(name="extra", type="object"),
    ),
)
# No line breaks of Unicode's own: to CSV they are characters like any other. NUL never gets as far as here.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def failed(raw: str, *codes: str, column: str = "id") -> FailedRow:
    errors = [{"code": code, "column": column, "value": None, "detail": f"It is {code}."} for code in codes]
    return FailedRow(1, 7, raw, errors, "open", None)


def sheet(*columns: str, spreadsheet_safe: bool = False, **dialect: Any) -> FailedRowsCsv:
    return FailedRowsCsv(
        DATASET, Dialect(columns=columns or NAMES, header=True, **dialect), spreadsheet_safe=spreadsheet_safe
    )


def read(made: FailedRowsCsv, *rows: FailedRow) -> list[dict[str, str]]:
    """As a mending program reads it."""
    text = (made.header() + made.encode(rows)).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def written(cells: list[str], **dialect: Any) -> str:
    """A row as somebody's program writes it."""
    out = io.StringIO()
    csv.writer(out, delimiter=dialect.get("delimiter", ","), quotechar=dialect.get("quote", '"')).writerow(cells)
    return out.getvalue().removesuffix("\r\n")


@pytest.mark.parametrize("dialect", [{}, {"delimiter": ";"}, {"delimiter": "\t", "quote": "'"}, {"delimiter": "|"}])
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4))
def test_every_cell_comes_back_as_it_was(dialect: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    found = read(sheet(**dialect), *(failed(written(list(row), **dialect), "type") for row in rows))
    assert [tuple(row[name] for name in NAMES) for row in found] == rows
    assert {row["_line"] for row in found} == {"7"}


@given(cells=st.tuples(TEXT, TEXT, TEXT))
def test_a_row_that_was_downloaded_before_loses_its_marks_only(cells: tuple[str, ...]) -> None:
    before = sheet().encode([failed(written(list(cells)), "type")]).decode().removesuffix("\r\n")
    (row,) = read(sheet(*NAMES, "_line", "_errors"), failed(before, "type"))
    assert row == {**dict(zip(NAMES, cells, strict=True)), "_line": "7", "_errors": "id: It is type."}


@given(raw=TEXT.filter(bool) | st.just("1,a,b"), code=st.sampled_from(sorted(UNSPLIT_CODES)))
def test_a_row_that_cannot_be_split_stays_whole_and_lacks_what_is_required(raw: str, code: str) -> None:
    (row,) = read(sheet(), failed(raw, code, column=""))
    assert row == {"id": "", "name": "", "note": raw, "_line": "7", "_errors": f"row: It is {code}."}


def test_without_an_optional_field_a_whole_row_stands_in_the_first() -> None:
    (row,) = read(sheet("id", "name"), failed("1,a,b", "row_length", column=""))
    assert (row["id"], row["name"]) == ("1,a,b", "")


def test_a_carriage_return_is_a_character_like_any_other() -> None:
    (row,) = read(sheet(), failed("1,a\rb,\r", "type"))
    assert [row[name] for name in NAMES] == ["1", "a\rb", "\r"]


@pytest.mark.parametrize("raw", ['1,a"b,c', '1,"a,b', "1,2", "1,2,3,4", '1,"a"b,c'])
def test_cells_are_never_guessed(raw: str) -> None:
    (row,) = read(sheet(), failed(raw, "type"))
    assert (row["id"], row["note"]) == ("", raw)


def test_of_a_row_that_was_cut_off_the_rest_is_not_taken_for_its_cells() -> None:
    raw = "1,Ada," + "x" * failures.LONGEST_RAW
    (row,) = read(sheet(), failed(raw[: failures.LONGEST_RAW], "type"))
    assert row["id"] == row["name"] == ""
    assert row["note"] == raw[: failures.LONGEST_RAW]
    assert row["_errors"] == "id: It is type.; row: Only its first 65536 bytes are stored."


def test_what_may_have_been_cut_off_is_known_by_its_length() -> None:
    for character in "aé€𝄞":
        row = (character * failures.LONGEST_RAW).encode()
        for extra in range(4):
            assert len(row_errors.raw_text(b"a" * extra + row).encode()) >= failures.CUT_OFF


JSON = st.dictionaries(st.sampled_from(NAMES), st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT))


@given(value=JSON)
def test_of_json_strings_are_cells_and_the_rest_is_as_it_was_written(value: dict[str, Any]) -> None:
    (row,) = read(sheet(format="ndjson"), failed(json.dumps(value), "type"))
    for name in NAMES:
        given = value.get(name)
        if isinstance(given, str) or given is None:
            assert row[name] == (given or "")
        else:
            assert json.loads(row[name]) == given


def test_numbers_of_json_stay_exact() -> None:
    raw = '{ "id" : 12345678901234567890.10, "note":-1E400 ,"name":null}'
    (row,) = read(sheet(format="ndjson"), failed(raw, "type"))
    assert [row[name] for name in NAMES] == ["12345678901234567890.10", "", "-1E400"]


@pytest.mark.parametrize("raw", ["{", "[1]", '{"id": 1} x', '{"name": "\\ud800"}'])
def test_what_is_no_object_stays_whole(raw: str) -> None:
    (row,) = read(sheet(format="ndjson"), failed(raw, "type"))
    assert row["note"] == raw


def test_formulas_stay_as_they_are_unless_defusing_is_requested() -> None:
    cells = ["-5", "=1+1", "@x"]
    rows = [failed(written(cells), "type"), failed('=1,"', "unclosed_quote", column="")]
    untouched, whole = read(sheet(), *rows)
    assert [untouched[name] for name in NAMES] == cells
    assert whole["note"] == '=1,"'
    untouched, whole = read(sheet(spreadsheet_safe=True), *rows)
    assert [untouched[name] for name in NAMES] == ["-5", "'=1+1", "'@x"]
    assert whole["note"] == "'=1,\""
