"""Drafts from samples, and that the ingestor loads the sample with its draft."""

import io
import json
import tomllib
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.datasets.infer.inference import Draft, infer, to_name
from services.gateway.datasets.infer.samples import UnreadableSample
from services.ingestor.parse import parser
from services.ingestor.parse.splitter import split
from shared.catalog import header
from shared.catalog.dataset_mistakes import find_mistakes
from shared.catalog.files import read_datasets, to_dataset
from shared.catalog.toml import to_toml
from shared.contracts.parts import Format
from tests.stack import ROOT
from tests.unit.test_parser import TORTURE

SAMPLES = ROOT / "samples"
Header = Literal["auto", "present", "absent"]


def loaded(data: bytes, form: Format, draft: Draft) -> tuple[int, int] | None:
    """How many rows of the sample the ingestor loads and refuses; None if the gateway doesn't let it in."""
    try:
        if form == "csv":
            header_option, mark = draft.sample.header or "auto", draft.sample.delimiter
            dialect = header.detect_csv(data[: header.WINDOW], draft.dataset, delimiter=mark, header=header_option)
        else:
            dialect = header.detect_json(data[: header.WINDOW], draft.dataset, form)
    except header.HeaderMismatch:
        return None
    good = bad = 0
    for piece in split(io.BytesIO(data), dialect):
        parsed = parser.parse(data[piece.start : piece.end], draft.dataset, dialect, line=piece.line)
        batch = parser.build_batch(parsed, now=datetime.now(UTC))
        good, bad = good + batch.rows.height, bad + len(batch.failed)
    return good, bad


def drafted(text: str | bytes, form: Format = "csv", *, header: Header = "auto", delimiter: str | None = None) -> Draft:
    """Checked as every draft must be."""
    data = text.encode() if isinstance(text, str) else text
    draft = infer(data, form, "things", header=header, delimiter=delimiter)
    assert find_mistakes(draft.dataset) == []
    assert ("flawed_rows" in codes(draft)) == (draft.sample.flawed > 0)
    if "header_mismatch" not in codes(draft):
        good, bad = loaded(data, form, draft) or (0, 0)
        assert good + bad == len(draft.sample.rows) + draft.sample.flawed
        assert bad == draft.sample.flawed or (form != "csv" and "mixed_types" in codes(draft))
    return draft


def unreadable(data: bytes, form: Format = "csv") -> str:
    """Why there is no draft, if there is none."""
    try:
        drafted(data, form)
    except UnreadableSample as error:
        return error.code
    return ""


def codes(draft: Draft) -> set[str]:
    return {warned.code for warned in draft.warnings}


def types(draft: Draft) -> dict[str, str]:
    return {field.name: field.type for field in draft.dataset.fields}


def column(*values: str) -> Draft:
    return drafted("x,y\n" + "".join(f'"{value}",1\n' for value in values))


@pytest.mark.parametrize(
    ("values", "kind", "code"),
    [
        (("1", "-2", "+3", "0"), "integer", None),
        (("9223372036854775807",), "integer", None),
        (("9223372036854775808",), "string", "big_int"),
        (("01", "2"), "string", "leading_zeros"),
        (("00.5", "2"), "string", "leading_zeros"),
        (("1.5", "2", "-12.25"), "decimal(12,2)", None),
        (("123456789.123",), "decimal(15,3)", None),
        (("1" * 30 + ".12345678",), "decimal(38,8)", None),
        (("1" * 38 + ".5",), "string", "big_int"),
        (("1e6", "2.5"), "number", None),
        (("0.5", ".5", "5."), "decimal(12,2)", None),
        (("true", "FALSE"), "boolean", None),
        (("yes", "no", "yes"), "boolean", None),
        (("t", "t"), "string", None),
        (("t", "f"), "boolean", None),
        (("yes", "true"), "string", None),
        (("0", "1"), "integer", None),
        (("2021-11-07", "1999-02-28"), "date", None),
        (("2021-02-30", "2021-02-28"), "string", "mixed_dates"),
        (("01/02/2020", "03/04/2020"), "string", "mixed_dates"),
        (("7.11.21",), "string", "mixed_dates"),
        (("2021-11-07", "2021-11-07T10:00:00Z"), "string", "mixed_dates"),
        (("2021-11-07", "07/11/2021", "2021-11-08"), "string", "mixed_dates"),
        (("2021-11-07T10:00:00Z", "2021-11-07 10:00"), "datetime", None),
        (("10:00", "10:00:59.5"), "time", None),
        (("123e4567-e89b-12d3-a456-426614174000",), "uuid", None),
        (("{}", "[1, 2]"), "object", None),
        (("1", "2", "3", "n/a"), "string", "mixed_types"),
        (("2021-11-07", "2021-11-08", "2021-11-09", "unknown"), "string", "mixed_types"),
        (("2021-11-07", "2021-11-08", "2021-11-09", "2021-02-30"), "string", "mixed_dates"),
        (("Ada", "Bo", "1"), "string", None),
        (("", ""), "string", "empty_column"),
        ((" ", "1", "2"), "string", "mixed_types"),
        (("1,000", "2,000"), "string", None),
    ],
)
def test_a_type_is_what_holds_all_values(values: tuple[str, ...], kind: str, code: str | None) -> None:
    draft = column(*values)
    assert types(draft)["x"] == kind
    found = {warned.code for warned in draft.warnings if warned.column == "x"} - {"key_guess"}
    assert found == ({code} if code else set())


def test_only_columns_without_a_gap_are_required() -> None:
    draft = drafted('id,name,note\n1,Ada,""\n2,Bo,x\n')
    assert {field.name: field.required for field in draft.dataset.fields} == {"id": True, "name": True, "note": False}


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(mark: str) -> None:
    text = f"id{mark}name{mark}price\n" + "".join(f"{n}{mark}A{mark}{n},5\n" for n in range(5)).replace(
        ",5\n", ".5\n" if mark == "," else ",5\n"
    )
    draft = drafted(text)
    assert draft.sample.delimiter == mark
    assert list(types(draft)) == ["id", "name", "price"]


@pytest.mark.parametrize(
    ("text", "header_option"),
    [
        ("id,name\n1,Ada\n", "present"),
        ("1,Ada\n2,Bo\n", "absent"),
        ("name,city\nAda,London\n", "present"),
        ("red,x\nred,y\n", "absent"),
        ("id,name\n", "present"),
        ("2021-11-07,Ada\n", "absent"),
        ("red,green\nblue,white\n", "present"),
        ("Name,\nAda,x\n", "absent"),
    ],
)
def test_a_header_is_distinguished_from_a_row(text: str, header_option: str) -> None:
    draft = drafted(text)
    assert draft.sample.header == header_option
    assert ("no_header" in codes(draft)) == (header_option == "absent")


def test_who_knows_better_can_say_so() -> None:
    assert types(drafted("Ada,London\n", header="absent")) == {"column_1": "string", "column_2": "string"}
    assert list(types(drafted("1,2\n3,4\n", header="present"))) == ["column_1", "column_2"]
    assert list(types(drafted("a~b\n1~2\n", delimiter="~"))) == ["a", "b"]


def test_names_become_identifiers() -> None:
    draft = drafted("First Name,Größe (cm),2020,ctid,名前,_line\nA,1,2,3,4,5\n", header="present")
    assert list(types(draft)) == ["first_name", "grosse_cm", "column_2020", "ctid_", "column_5"]
    renamed = {warned.column: warned.detail for warned in draft.warnings if warned.code == "renamed_column"}
    assert renamed["first_name"] == "'First Name' is not a valid name: its column is first_name."
    assert len(renamed) == 5
    assert {"passed_over", "header_mismatch"} <= codes(draft)


def test_a_header_that_only_needs_lower_case_is_imported_as_it_is() -> None:
    draft = drafted("ID,First Name,last-name\n1,Ada,L\n")
    assert "renamed_column" in codes(draft)
    assert "header_mismatch" not in codes(draft)


def test_columns_of_one_name_get_different_names() -> None:
    draft = drafted("id,name,Name,name\n1,a,b,c\n")
    assert list(types(draft)) == ["id", "name", "name_2", "name_3"]
    assert {"duplicate_header", "header_mismatch"} <= codes(draft)


def test_a_header_alone_gives_text() -> None:
    draft = drafted("id,name\n")
    assert types(draft) == {"id": "string", "name": "string"}
    assert not any(field.required for field in draft.dataset.fields)
    assert {"header_only", "no_key"} <= codes(draft)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name,id\nA,1\nB,2\n", ("id",)),
        ("customer_id,thing_id\n1,5\n2,6\n", ("thing_id",)),
        ("customer_id,x\n1,5\n2,6\n", ("customer_id",)),
        ("email,x\na@b,5\nc@d,6\n", ("email",)),
        ("id,x\n1,5\n1,6\n", ()),
        ("id,x\n1,5\n+1,6\n", ()),
        ("id,x\n1,5\n,6\n", ()),
        ("name,x\nA,5\nB,6\n", ()),
        ("id,x\n1.5,5\n2.5,6\n", ()),
        (f"id,x\n{'a' * 601},5\nb,6\n", ()),
    ],
)
def test_a_key_is_guessed(text: str, key: tuple[str, ...]) -> None:
    draft = drafted(text)
    assert draft.dataset.primary_key == key
    assert ("no_key" in codes(draft), "key_guess" in codes(draft)) == (not key, bool(key))


def test_few_rows_are_reported() -> None:
    assert "few_rows" in codes(drafted("id\n" + "1\n" * 9))
    assert "few_rows" not in codes(drafted("id\n" + "1\n" * 10))


def test_rows_that_can_not_be_read_are_counted_and_not_learnt_from() -> None:
    draft = drafted(b'id,name\n1,Ada\nx"y,Bo\n2\n3,\xff\n4,\0\n5,"Cy\nD"\n"6,E\n')
    assert (draft.sample.flawed, types(draft)["id"]) == (5, "integer")


@pytest.mark.parametrize(
    ("data", "form", "code"),
    [
        (b"", "csv", "empty_file"),
        (b"\xef\xbb\xbf\n\n", "csv", "empty_file"),
        (b'a"b\n"', "csv", "no_rows"),
        (b"_line,_errors\n1,2\n", "csv", "no_columns"),
        (b",".join([b"a"] * 401) + b"\n", "csv", "too_many_columns"),
        (b"{}", "json", "not_json"),
        (b"[", "json", "not_json"),
        (b"[1]", "json", "not_json"),
        (b"x\ny\n", "ndjson", "not_json"),
        (b"[" * 5000, "json", "not_json"),
        (b"[]", "json", "no_columns"),
    ],
)
def test_a_sample_that_teaches_nothing_is_reported(data: bytes, form: Format, code: str) -> None:
    with pytest.raises(UnreadableSample) as caught:
        infer(data, form, "things")
    assert caught.value.code == code


@pytest.mark.parametrize("form", ["ndjson", "json"])
def test_json_says_more_about_its_types(form: Format) -> None:
    rows = [
        {"id": 1, "zip": "01234", "price": 1.5, "at": "2021-11-07", "ok": True, "tags": [], "big": 1 << 70, "x": 1},
        {"id": 2, "zip": "5", "price": 2, "at": "2021-11-08", "ok": False, "tags": {}, "big": 1, "y": "", "x": "1"},
    ]
    text = json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows))
    draft = drafted(text, form)
    assert types(draft) == {
        "id": "integer",
        "zip": "string",
        "price": "decimal(12,2)",
        "at": "date",
        "ok": "boolean",
        "tags": "object",
        "big": "decimal(38,0)",
        "x": "string",
        "y": "string",
    }
    assert draft.dataset.primary_key == ("id",)
    assert {warned.code for warned in draft.warnings if warned.column == "x"} == {"mixed_types"}
    assert {warned.code for warned in draft.warnings if warned.column == "big"} == {"big_int"}
    assert not draft.dataset.field("y").required


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.csv")), ids=lambda path: path.name)
def test_the_samples_of_this_repository(path: Any) -> None:
    draft = drafted(path.read_bytes())
    assert loaded(path.read_bytes(), "csv", draft) is not None
    assert "header_guess" not in codes(draft)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("First Name", "first_name"),
        ("Ärger!", "arger"),
        ("2020", "column_2020"),
        ("日本", ""),
        ("__a__", "a"),
        ("ß", "ss"),
    ],
)
def test_any_text_can_be_made_a_name(text: str, name: str) -> None:
    assert to_name(text, 57) == name


@pytest.mark.parametrize("name", ["", "infer", "Hired Employees 2021", "a__b", "x" * 100, "日本", "1"])
def test_any_name_will_do_for_the_dataset(name: str) -> None:
    dataset = infer(b"id\n1\n", "csv", name).dataset
    assert find_mistakes(dataset) == []


CELL_KINDS: list[st.SearchStrategy[str]] = [
    st.integers(-3, 3).map(str),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats().map(repr),
    st.dates().map(str),
    st.datetimes().map(str),
    st.booleans().map(str),
    st.uuids().map(str),
    st.sampled_from(["", " ", "0", "00", "01", "t", "f", "no", "n/a", "01/02/2020", "{}", "[]", "null"]),
    st.text(max_size=5),
]
CELLS = st.one_of(CELL_KINDS)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",;\t|\r\n') else cell


@st.composite
def tables(draw: st.DrawFn) -> str:
    """CSV of columns that are mostly of one type each."""
    width = draw(st.integers(1, 4))
    kinds = [draw(st.sampled_from([CELLS, *CELL_KINDS])) for _ in range(width)]
    rows = draw(st.lists(st.tuples(*kinds), max_size=6))
    mark = draw(st.sampled_from([",", ";", "\t", "|"]))
    names = draw(st.lists(st.one_of(st.sampled_from(["id", "a", "b c", "D"]), st.text(max_size=4)), max_size=width))
    lines = [names, *rows] if len(names) == width else rows
    return "\n".join(mark.join(map(quoted, line)) for line in lines)


@given(text=tables())
def test_a_draft_of_any_table_loads_it_or_warns(text: str) -> None:
    assert unreadable(text.encode(errors="surrogatepass")) in ("", "empty_file", "no_rows", "no_columns")


@given(data=TORTURE)
@example(b"\xef\xbb\xbf\xef\xbb\xbfa\n1\n")
@example(b"a\r\n1\r")
def test_a_draft_of_any_bytes_loads_them_or_warns(data: bytes) -> None:
    assert unreadable(data) in ("", "empty_file", "no_rows", "no_columns")


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), CELLS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["id", "a", "b", "C d", "_x"]), VALUES, max_size=4), max_size=5),
    form=st.sampled_from(["ndjson", "json"]),
)
def test_a_draft_of_any_json_loads_it_or_warns(rows: list[dict[str, Any]], form: Format) -> None:
    text = json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows))
    assert unreadable(text.encode(), form) in ("", "empty_file", "not_json", "no_columns")


def test_a_draft_is_the_text_of_a_file() -> None:
    dataset = drafted("id,email\n1,a@b\n2,c@d\n").dataset
    declaration = msgspec.to_builtins(dataset)
    declaration.pop("name")
    assert to_dataset("things", tomllib.loads(to_toml(declaration))) == dataset


@pytest.mark.parametrize("dataset", read_datasets(ROOT / "catalog"), ids=lambda dataset: dataset.name)
def test_every_declaration_can_be_written_as_toml(dataset: Any) -> None:
    declaration = msgspec.to_builtins(dataset)
    name = declaration.pop("name")
    assert to_dataset(name, tomllib.loads(to_toml(declaration))) == dataset


@given(
    st.dictionaries(
        st.text(),
        st.recursive(st.text() | st.booleans() | st.integers() | st.floats(-1e9, 1e9), st.lists, max_leaves=10),
    )
)
def test_toml_holds_what_json_does(declaration: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(declaration)) == declaration
