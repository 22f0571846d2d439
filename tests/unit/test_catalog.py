"""Declarations: the catalog's own are good, and what is wrong with others is said, all of it, with its file."""

from pathlib import Path
from typing import Any

import pytest

from services.ingestor import tables
from shared.catalog.dataset import Dataset
from shared.catalog.files import BadDeclaration, read_datasets, read_reports, to_dataset
from tests.stack import ROOT

CATALOG = ROOT / "catalog"
SIMPLE: dict[str, Any] = {
    "title": "Things",
    "primary_key": ["id"],
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "string"},
        {"name": "at", "type": "datetime", "required": True},
    ],
}


def declared(**changes: Any) -> Dataset:
    return to_dataset("things", {**SIMPLE, **changes})


def refused(**changes: Any) -> str:
    with pytest.raises(BadDeclaration) as caught:
        declared(**changes)
    return str(caught.value)


def test_the_seven_datasets_and_two_reports_are_there() -> None:
    datasets = {dataset.name: dataset for dataset in read_datasets(CATALOG)}
    assert sorted(datasets) == [
        "contacts",
        "customers",
        "departments",
        "hired_employees",
        "items",
        "jobs",
        "paragraphs",
    ]
    hired = datasets["hired_employees"]
    assert hired.partition_by is not None
    assert (hired.partition_by.field, hired.indexes) == ("hired_at", (("department_id", "job_id", "hired_at"),))
    assert [report.name for report in read_reports(CATALOG)] == ["departments_above_average", "hires_by_quarter"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"primary_key": ["nothing"]}, "'nothing', which is not a field"),
        ({"primary_key": ["name"]}, "must be required"),
        ({"indexes": [["id", "nowhere"]]}, "indexes[0] names 'nowhere'"),
        ({"search": {"fields": ["id"]}}, "only string fields can be searched"),
        (
            {"search": {"fields": ["name"], "language": "english'; DROP"}},
            "not a name of a Postgres text search language",
        ),
        ({"partition_by": {"field": "at", "every": "year"}}, "primary_key must contain 'at'"),
        ({"partition_by": {"field": "name", "every": "year"}}, "must be a date or a datetime"),
        ({"rollups": [{"name": "r", "group_by": ["year(name)"], "measures": {"n": "count"}}]}, "needs a date"),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "median(id)"}}]}, "use count or sum(field)"),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "sum(name)"}}]}, "needs a number field"),
        ({"fields": [{"name": "Id", "type": "integer"}]}, "is not a name"),
        ({"fields": [{"name": "id", "type": "int"}], "primary_key": []}, "known are integer"),
        ({"fields": [{"name": "id", "type": "string", "pattern": "("}], "primary_key": []}, "no regular expression"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], said: str) -> None:
    assert said in refused(**changes)


def test_all_mistakes_are_named_at_once() -> None:
    lines = refused(primary_key=["x"], indexes=[["y"]], search={"fields": ["z"]}).splitlines()
    assert len(lines) == 3


def test_a_name_that_would_collide_with_partitions_is_refused() -> None:
    with pytest.raises(BadDeclaration, match="double _"):
        to_dataset("things__2021", SIMPLE)


def test_mistakes_in_files_come_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "a.toml").write_text("title = ")
    (tmp_path / "datasets" / "b.toml").write_text('title = "B"\nfields = []\n')
    with pytest.raises(BadDeclaration) as caught:
        read_datasets(tmp_path)
    first, second = str(caught.value).splitlines()
    assert "a.toml" in first
    assert "b.toml" in second


def test_reports_may_only_use_declared_parameters(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "r.toml").write_text(
        'title = "R"\ndatasets = []\nparameters = [{ name = "b", type = "date" }]\nsql = "SELECT :a::int; SELECT 1"\n'
    )
    with pytest.raises(BadDeclaration) as caught:
        read_reports(tmp_path)
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        "the SQL uses :a, which is not a parameter",
        "parameter 'b' is not used by the SQL",
        "the SQL must be one statement without a semicolon",
    ]


def test_a_cast_is_no_parameter() -> None:
    report = next(report for report in read_reports(CATALOG) if report.name == "hires_by_quarter")
    assert "$1" in report.statement()
    assert ":year" not in report.statement()


def test_a_change_that_loses_nothing_is_made_and_another_refused_with_its_reason() -> None:
    wider = declared(fields=[*SIMPLE["fields"], {"name": "note", "type": "string", "default": "it's"}])
    assert tables.evolve(declared(), wider) == (
        ["ALTER TABLE data.\"things\" ADD COLUMN \"note\" text DEFAULT 'it''s'"],
        [],
    )
    fields = [{**field, "type": "number"} if field["name"] == "id" else field for field in SIMPLE["fields"]]
    assert tables.evolve(declared(), declared(fields=fields))[1] == [
        "field 'id' can't become number: its values are integer"
    ]
    assert "can't be removed" in tables.evolve(wider, declared())[1][0]
