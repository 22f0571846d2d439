"""Declarations of reports: mistakes are reported with their line; parameters are read or refused."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from services.gateway.http.problems import Problem
from services.gateway.reports import parameters
from shared.catalog.report import BadValue, Parameter, Report
from shared.catalog.report_files import ReportFile, read_reports
from tests.stack import ROOT

GOOD = 'title = "R"\ndatasets = ["a"]\n'
TABLE = '[[parameters]]\nname = "b"\ntype = "date"\n'
YEAR = Parameter(name="year", type="integer", minimum=1900, maximum=2200)


def of_file(folder: Path, text: str, name: str = "r") -> ReportFile:
    reports = folder / "catalog" / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    (reports / f"{name}.toml").write_text(text)
    (found,) = read_reports(folder / "catalog")
    return found


def mistakes_of(folder: Path, text: str) -> list[str]:
    return [str(flaw).removeprefix("catalog/reports/r.toml:") for flaw in of_file(folder, text).flaws]


def report(**about: Any) -> Report:
    return Report(**{"name": "r", "title": "R", "datasets": ("a",), "sql": "SELECT 1", **about})


def test_the_catalogs_own_reports_can_be_read() -> None:
    found = read_reports(ROOT / "catalog")
    assert [file.flaws for file in found] == [()] * len(found)
    assert {"hires_by_quarter", "departments_above_average", "balance_by_join_month"} <= {file.name for file in found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title = \n", ["1:9: Invalid value"]),
        ('title = "R"\nsql = "SELECT 1"\n', ["1: datasets: missing"]),
        (GOOD + 'sq = "x"\nsql = "SELECT 1"\n', ["3: sq: unknown key; did you mean 'sql'?"]),
        (GOOD + 'sql = "SELECT 1"\nrow_limit = 0\n', ["4: row_limit: Expected `int` >= 1"]),
        (GOOD + 'sql = "SELECT 1"\ntimeout = 61\n', ["4: timeout: Expected `float` <= 60.0"]),
        (GOOD + 'sql = "SELECT 1; SELECT 2"\n', ["3:16: the SQL must be one statement without a semicolon"]),
        (GOOD + 'sql = """\nSELECT 1\nWHERE 1 = :no\n"""\n', ["5:11: the SQL uses :no, which is not a parameter"]),
        (
            GOOD
            + 'sql = "SELECT :b"\nparameters = [\n{ name = "b", type = "date" },\n{ name = "c", type = "date" },\n]\n',
            ["6: parameter 'c' is not used by the SQL"],
        ),
        (
            GOOD + 'sql = "SELECT :b"\n\n' + TABLE + "\n" + TABLE,
            ["9: parameter 'b' is declared twice"],
        ),
        (
            GOOD + 'parameters = [{ name = "b", type = "text" }]\nsql = "SELECT :b"\n',
            ["3: parameters[0].type: Invalid enum value 'text'"],
        ),
        ('title = "R"\ndatasets = ["a", "a"]\nsql = "SELECT 1"\n', ["2: datasets names 'a' more than once"]),
        (
            'title = "R"\ndatasets = []\nsql = "SELECT 1"\n',
            ["2: datasets is empty: name those that the SQL reads"],
        ),
        (GOOD + 'sql = "SELECT \\"x\\"; 1"\n', ["3: the SQL must be one statement without a semicolon"]),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert mistakes_of(tmp_path, text) == expected


def test_all_that_is_wrong_is_reported(tmp_path: Path) -> None:
    text = GOOD + 'parameters = [{ name = "a", type = "date" }]\nsql = "SELECT :b, :c"\n'
    assert len(mistakes_of(tmp_path, text)) == 3


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "catalog" / "reports"
    folder.mkdir(parents=True)
    (folder / "r.toml").write_bytes(b"\xff\xfe")
    assert "can't be read" in str(read_reports(tmp_path / "catalog")[0].flaws[0])


def test_a_file_must_be_called_as_a_report_can_be(tmp_path: Path) -> None:
    assert "'My Report' is not a name" in of_file(tmp_path, GOOD + 'sql = "SELECT 1"\n', "My Report").flaws[0].detail


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"name": "format", "type": "string"}, "has a reserved name"),
        ({"name": "A", "type": "string"}, "is not a name"),
        ({"name": "a", "type": "integer", "minimum": "x"}, "minimum 'x' is no integer"),
        ({"name": "a", "type": "string", "minimum": 1}, "has no minimum"),
        ({"name": "a", "type": "integer", "default": 0, "minimum": 1}, "must be from 1, not 0"),
        ({"name": "a", "type": "integer", "default": "x"}, "'x'"),
        ({"name": "a", "type": "string", "default": "c", "enum": ("a", "b")}, "one of a, b"),
        ({"name": "a", "type": "date", "enum": ("2021-02-30",)}, "is no date"),
    ],
)
def test_parameters_must_make_sense(about: dict[str, Any], message: str) -> None:
    declared = report(parameters=(Parameter(**about),), sql=f"SELECT :{about['name']}")
    assert any(message in mistake.detail for mistake in declared.find_mistakes()), declared.find_mistakes()


def test_what_is_quoted_or_a_comment_is_no_parameter() -> None:
    sql = """SELECT ':a;' || E'\\':b;' || ":c;" || $$:d;$$ || $t$:e;$t$, '12:30', x::text -- :f;
    /* :g; */ WHERE 1 = :year"""
    declared = report(parameters=(YEAR,), sql=sql)
    assert declared.find_mistakes() == []
    assert declared.build_statement().text.count("$1::bigint") == 1


def test_every_character_of_the_statement_is_found_again() -> None:
    declared = report(
        parameters=(YEAR, Parameter(name="day", type="date")), sql="SELECT :day, :year, 'ä:year', :day AS z"
    )
    statement = declared.build_statement()
    assert (
        statement.text == "SELECT * FROM (\nSELECT $2::date, $1::bigint, 'ä:year', $2::date AS z\n) report LIMIT 10001"
    )
    for word in ("SELECT", "'ä", "AS z"):
        assert statement.to_declared_offset(statement.text.rindex(word, 0, -9)) == declared.sql.rindex(word)
    assert statement.to_declared_offset(3) is None


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", " 5 ", 5),
        ("number", "1e3", 1000.0),
        ("string", " a ", " a "),
        ("date", "2021-02-28", dt.date(2021, 2, 28)),
        ("boolean", "yes", True),
    ],
)
def test_values_are_read(kind: Any, text: str, value: Any) -> None:
    assert Parameter(name="p", type=kind).parse(text) == value


@pytest.mark.parametrize(
    ("about", "text", "code"),
    [
        ({"type": "integer"}, "abc", "type"),
        ({"type": "integer"}, "9223372036854775808", "type"),
        ({"type": "number"}, "inf", "type"),
        ({"type": "date"}, "2021-02-30", "type"),
        ({"type": "string"}, "\0", "type"),
        ({"type": "string"}, "\ud800", "type"),
        ({"type": "boolean"}, "perhaps", "type"),
        ({"type": "integer", "minimum": 1}, "0", "range"),
        ({"type": "date", "maximum": "2021-01-01"}, "2021-01-02", "range"),
        ({"type": "string", "enum": ("a",)}, "b", "enum"),
    ],
)
def test_values_are_refused(about: dict[str, Any], text: str, code: str) -> None:
    with pytest.raises(BadValue) as caught:
        Parameter(name="p", **about).parse(text)
    assert caught.value.code == code


def test_all_wrong_parameters_are_named_and_the_hint_lists_the_right_ones() -> None:
    declared = report(parameters=(YEAR, Parameter(name="top", type="integer", default=10)), sql="SELECT :year, :top")
    assert parameters.parse(declared, [("year", "2021")]) == (2021, 10)
    with pytest.raises(Problem) as caught:
        parameters.parse(declared, [("yeer", "1"), ("top", "x"), ("top", "3")])
    assert [error.code for error in caught.value.errors] == ["unknown_parameter", "twice", "missing_parameter"]
    assert caught.value.hint == "Parameters: year (integer), top (integer, 10)."
    with pytest.raises(Problem, match="see year"):
        parameters.parse(declared, [("year", "99999")])
