"""Whether a file's first line is a header, and the errors when it doesn't fit."""

import io
from typing import Any, Literal

import pytest

from services.ingestor.parse.splitter import split
from shared.catalog import header
from shared.catalog.dataset import Dataset, Field
from shared.catalog.header import ColumnError, HeaderMismatch
from shared.contracts.parts import Dialect

PEOPLE = Dataset(
    name="people",
    title="People",
    fields=(
        Field(name="number", type="integer", generated=True),
        Field(name="id", type="integer", required=True),
        Field(name="first_name", type="string", required=True),
        Field(name="born", type="date"),
        Field(name="seen_at", type="datetime", required=True, default="now"),
    ),
)
NAMES = Dataset(name="names", title="Names", fields=(Field(name="name", type="string"),))
ALL = ("id", "first_name", "born", "seen_at")
Header = Literal["auto", "present", "absent"]


def read(
    start: bytes, *, dataset: Dataset = PEOPLE, delimiter: str = ",", quote: str = '"', how: Header = "auto"
) -> Dialect:
    return header.detect_csv(start, dataset, delimiter=delimiter, quote=quote, header=how)


def refused(start: bytes, **how: Any) -> HeaderMismatch:
    with pytest.raises(HeaderMismatch) as caught:
        read(start, **how)
    return caught.value


def json_refused(start: bytes, form: Literal["ndjson", "json"]) -> HeaderMismatch:
    with pytest.raises(HeaderMismatch) as caught:
        header.detect_json(start, PEOPLE, form)
    return caught.value


@pytest.mark.parametrize(
    ("start", "columns"),
    [
        (b"id,first_name\n1,Ada\n", ("id", "first_name")),
        (b"id,first_name", ("id", "first_name")),
        (b"\xef\xbb\xbfid,first_name\r\n", ("id", "first_name")),
        (b"\n\r\nid,first_name\n", ("id", "first_name")),
        (b'"ID", First Name ,"Seen-At"\n', ("id", "first_name", "seen_at")),
        (b"born,first_name,id,seen_at\n", ("born", "first_name", "id", "seen_at")),
        (b'"first\nname",id\r\n', ("first_name", "id")),
    ],
)
@pytest.mark.parametrize("how", ["auto", "present"])
def test_reads_a_header(start: bytes, columns: tuple[str, ...], how: Header) -> None:
    assert read(start, how=how) == Dialect(columns=columns, header=True)


@pytest.mark.parametrize(
    "start",
    [
        b"1,Ada,1815-12-10,2021-11-07T02:48:42Z\n",
        b"1,Ada,,\n",
        b'x,"Lovelace, ""Ada""",1815-12-10,',
        b",,,2021-11-07T02:48:42Z\r\n2,",
    ],
)
@pytest.mark.parametrize("how", ["auto", "absent"])
def test_reads_a_file_without_a_header(start: bytes, how: Header) -> None:
    assert read(start, how=how) == Dialect(columns=ALL, header=False)


def test_absent_doesnt_look_at_the_values() -> None:
    assert read(b"id,first_name,born,seen_at\n", how="absent") == Dialect(columns=ALL, header=False)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^"])
def test_other_delimiters(delimiter: str) -> None:
    start = delimiter.join(["id", "first_name"]).encode()
    assert read(start, delimiter=delimiter) == Dialect(columns=("id", "first_name"), header=True, delimiter=delimiter)


def test_each_column_that_does_not_fit_is_named() -> None:
    error = refused("id,firstname,born,Born,größe,,number\n".encode())
    assert error.code == "header_mismatch"
    assert error.errors == [
        ColumnError("unknown_column", "firstname", "'firstname' is not a field; did you mean 'first_name'?"),
        ColumnError("duplicate_column", "born", "The column 'born' occurs more than once."),
        ColumnError("unknown_column", "größe", "'größe' is not a field."),
        ColumnError("unknown_column", "", "Column 6 has no name."),
        ColumnError("generated_column", "number", "Postgres generates 'number', so input must not contain it."),
        ColumnError("missing_column", "first_name", "The required column 'first_name' is missing."),
    ]
    assert all(problem.column in error.detail for problem in error.errors)
    assert "header=absent" in error.hint


def test_present_refuses_a_row() -> None:
    error = refused(b"1,Ada,,\n", how="present")
    assert [problem.code for problem in error.errors] == ["unknown_column"] * 4 + ["missing_column"] * 2


def test_neither_header_nor_row() -> None:
    error = refused(b"a,b,c,d\n")
    assert "(a, b, c, d)" in error.detail
    assert "(id, first_name, born, seen_at)" in error.detail
    assert "header=present" in error.hint
    assert "header=absent" in error.hint


@pytest.mark.parametrize("how", ["auto", "absent"])
def test_a_file_without_a_header_must_bring_all_columns(how: Header) -> None:
    error = refused(b"1,Ada\n", how=how)
    assert "2 columns (1, Ada)" in error.detail
    assert "without a header needs 4 (id, first_name, born, seen_at)" in error.detail
    assert "must have all" in error.hint


def test_another_delimiter_is_suggested() -> None:
    assert "delimiter=semicolon" in refused(b"id;first_name\n").hint


def test_a_first_row_of_text_only_looks_like_names() -> None:
    assert "header=absent" in refused(b"Ada\n", dataset=NAMES).hint
    assert read(b"Ada\n", dataset=NAMES, how="absent") == Dialect(columns=("name",), header=False)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n\r\n\n", b" \r\n\t\n"])
@pytest.mark.parametrize("how", ["auto", "present", "absent"])
def test_an_empty_file(start: bytes, how: Header) -> None:
    assert refused(start, how=how).code == "empty_file"


@pytest.mark.parametrize("start", [b'id,"first_name\n1,Ada\n', b'id,"first"name\n', b'id,first"name\n'])
def test_wrong_quotes(start: bytes) -> None:
    error = refused(start)
    assert error.code == "header_mismatch"
    assert "quotes" in error.detail


def test_other_encodings() -> None:
    assert "UTF-8" in refused("id,größe\n".encode("latin-1")).detail
    assert "UTF-8" in refused("id,first_name\n".encode("utf-16")).detail


@pytest.mark.parametrize("filling", [b"x", b'"', b'"x""'])
def test_the_first_record_must_end_in_the_window(filling: bytes) -> None:
    start = b"id," + filling + b"y" * header.WINDOW
    assert f"{header.WINDOW} bytes" in refused(start[: header.WINDOW]).detail


def test_a_start_may_be_cut_off_anywhere_after_the_first_record() -> None:
    start = b"id,first_name\n" + '1,"ä\n'.encode() * header.WINDOW
    for length in range(header.WINDOW, header.WINDOW + 6):
        assert read(start[:length]) == Dialect(columns=("id", "first_name"), header=True)


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "\0", "ä"])
def test_what_can_not_be_a_delimiter(delimiter: str) -> None:
    assert refused(b"id,first_name\n", delimiter=delimiter).code == "bad_delimiter"


@pytest.mark.parametrize(
    "start", [b'\xef\xbb\xbf\n"id","first\nname"\r\n', b"id,first_name\n", b"first_name,id\r\n\r\n"]
)
def test_the_ingestor_skips_the_same_record(start: bytes) -> None:
    dialect = read(start)
    rest = b"1,Ada\n"
    pieces = list(split(io.BytesIO(start.rstrip(b"\r\n") + b"\n" + rest), dialect))
    assert [piece.end - piece.start for piece in pieces] == [len(rest)]


def test_columns_that_begin_with_an_underscore_may_stand_in_a_header() -> None:
    columns = ("_line", "id", "first_name", "_errors", "_errors", "_")
    assert read(b"_line,id,First Name,_Errors,_errors,_\n").columns == columns
    assert read(b"_line,id,First Name,_Errors,_errors,_\n").fields == ("id", "first_name")


@pytest.mark.parametrize("how", ["auto", "present"])
def test_a_header_must_name_a_field(how: Header) -> None:
    optional = Dataset(name="one", title="One", fields=(Field(name="name", type="string"),))
    error = refused(b"_line,_errors\n", dataset=optional, how=how)
    assert error.code == "header_mismatch"


@pytest.mark.parametrize("quote", ["'", "|", "x"])
def test_other_quotes(quote: str) -> None:
    start = f"{quote}id{quote},{quote}first{quote * 2}\nname{quote}\n".encode()
    assert refused(start, quote=quote).errors[0].column == f"first{quote}\nname"
    start = f"{quote}id{quote},{quote}first\nname{quote}\n".encode()
    assert read(start, quote=quote) == Dialect(columns=("id", "first_name"), header=True, quote=quote)
    assert f"write a {quote} in it as {quote * 2}" in refused(f"id,first{quote}name\n".encode(), quote=quote).hint


@pytest.mark.parametrize("quote", ["", "''", "\n", "\r", "\0", "ä"])
def test_what_can_not_be_a_quote(quote: str) -> None:
    assert refused(b"id,first_name\n", quote=quote).code == "bad_quote"


def test_a_delimiter_is_no_quote() -> None:
    assert refused(b"id;first_name\n", delimiter=";", quote=";").code == "bad_delimiter"


LONG = b'{"id": 1, "first_name": "' + b"x" * header.WINDOW


@pytest.mark.parametrize(
    ("start", "form"),
    [
        (b'{"id": 1}', "ndjson"),
        (b'\xef\xbb\xbf\r\n {"id": 1, "_line": 3}\r\n{"nope"', "ndjson"),
        (b"{}\n", "ndjson"),
        (b'st_name": "torn"}\n{"id": 1}\n', "ndjson"),
        (LONG[: header.WINDOW], "ndjson"),
        (b'{"id": 1}\n' * header.WINDOW, "ndjson"),
        (b'[{"id": 1}, {"nope": 2}]', "json"),
        (b'\xef\xbb\xbf\n [\n{"id": 1.5e400, "_x": [1]},\n', "json"),
        (b"[]", "json"),
        (b"[ \n]\n", "json"),
        ((b"[" + LONG)[: header.WINDOW], "json"),
        (b'[{"id": 1},' * header.WINDOW, "json"),
        (('[{"id": 1, "first_name": "ä'.encode() * header.WINDOW)[: header.WINDOW], "json"),
    ],
)
def test_reads_json(start: bytes, form: Literal["ndjson", "json"]) -> None:
    assert header.detect_json(start[: header.WINDOW], PEOPLE, form) == Dialect(columns=ALL, header=False, format=form)


@pytest.mark.parametrize(("form", "frame"), [("ndjson", b"%s\n"), ("json", b"[\n%s,\n")])
def test_keys_that_are_no_fields_are_named(form: Literal["ndjson", "json"], frame: bytes) -> None:
    error = json_refused(frame % b'{"id": 1, "firstname": "Ada", "number": 7, "_line": 1, "zip": null}', form)
    assert error.code == "header_mismatch"
    assert error.errors == [
        ColumnError("generated_column", "number", "Postgres generates 'number', so input must not contain it."),
        ColumnError("unknown_column", "firstname", "'firstname' is not a field; did you mean 'first_name'?"),
        ColumnError("unknown_column", "zip", "'zip' is not a field."),
    ]
    assert all(problem.column in error.detail for problem in error.errors)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \r\n\t\n"])
def test_an_empty_file_is_no_json(start: bytes) -> None:
    for form in ("ndjson", "json"):
        assert json_refused(start, form).code == "empty_file"
        assert json_refused(b" " * header.WINDOW, form).code == "not_json"


@pytest.mark.parametrize(
    ("start", "form", "hint"),
    [
        (b"id,first_name\n1,Ada\n", "ndjson", "one JSON object on each line"),
        (b'[{"id": 1}]', "ndjson", "application/json"),
        (b'{\n"id": 1\n}\n', "ndjson", "one JSON object on each line"),
        (b"1\n2\n", "ndjson", "one JSON object on each line"),
        (b"[" * header.WINDOW, "ndjson", "application/json"),
        (b"id,first_name\n1,Ada\n", "json", "one JSON array"),
        (b'{"id": 1}\n{"id": 2}\n', "json", "application/x-ndjson"),
        (b'{"total": 2, "page": {"of": 1}, "data": [ {"id": 1}]}', "json", "'data'"),
        (b"[1, 2]", "json", "objects"),
        (b'["id", "first_name"]', "json", "objects"),
        (b'[{"id": 01}, {"id": 2}]', "json", "objects"),
        (b"[" * header.WINDOW, "json", "objects"),
        (b"[", "json", "objects"),
        (b'[{"id": 1', "json", "objects"),
    ],
)
def test_what_is_no_json_of_rows(start: bytes, form: Literal["ndjson", "json"], hint: str) -> None:
    error = json_refused(start, form)
    assert error.code == "not_json"
    assert hint in error.hint
    assert error.detail
