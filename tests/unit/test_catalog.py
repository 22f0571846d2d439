"""Declarations: the catalog's own are valid, and all mistakes in others are reported with their file."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.catalog.dataset import Dataset
from shared.catalog.files import BadDeclaration, read_datasets, to_dataset
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


def of(name: str, **keys: Any) -> dict[str, Any]:
    """The changes that leave a single field."""
    return {"fields": [{"name": name, **keys}], "primary_key": []}


def declared(**changes: Any) -> Dataset:
    return to_dataset("things", {**SIMPLE, **changes})


def refused(**changes: Any) -> str:
    with pytest.raises(BadDeclaration) as caught:
        declared(**changes)
    return str(caught.value)


def test_the_seven_datasets_are_there() -> None:
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


def summed(**changes: Any) -> dict[str, Any]:
    fields = [
        {"name": "id", "type": "integer", "required": True},
        {"name": "a", "type": "string"},
        {"name": "b", "type": "string", "max_length": 500},
        {"name": "o", "type": "object"},
    ]
    return {"fields": fields, "rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "count"}, **changes}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"primary_key": ["nothing"]}, "'nothing', which is not a field"),
        ({"primary_key": ["name"]}, "must be required"),
        ({"indexes": [["id", "nowhere"]]}, "indexes[0] names 'nowhere'"),
        ({"search": {"fields": ["id"]}}, "only string fields can be searched"),
        (
            {"search": {"fields": ["name"], "language": "english'; DROP"}},
            "is not supported; choose one of arabic",
        ),
        ({"partition_by": {"field": "at", "every": "year"}}, "primary_key must contain 'at'"),
        ({"partition_by": {"field": "name", "every": "year"}}, "must be a date or a datetime"),
        ({"rollups": [{"name": "r", "group_by": ["year(name)"], "measures": {"n": "count"}}]}, "needs a date"),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "median(id)"}}]}, "use count or sum, min"),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "sum(name)"}}]}, "needs a number field"),
        (
            {"rollups": [{"name": "year(r)", "group_by": ["id"], "measures": {"n": "count"}}]},
            "must consist of a-z",
        ),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {'n" int': "count"}}]}, "is not a column name"),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "count"}}] * 2}, "declared twice"),
        (summed(name="a__b"), "without a double _"),
        (summed(group_by=["domain(id)"]), "domain(id) needs a string field"),
        (summed(group_by=["word(id)"]), "word(id) needs a string field"),
        (summed(group_by=["word(a)", "word(b)"]), "only by the words of one field"),
        (summed(group_by=["a"]), "'a' must have a max_length, in total at most 600"),
        (summed(group_by=["domain(a)"]), "'a' must have a max_length"),
        (summed(measures={"n": "count_distinct(a)"}), "'a' must have a max_length"),
        (summed(group_by=["word(b)"], measures={"n": "min(b)"}), "'b' must have a max_length, in total at most 600"),
        (summed(measures={"n": "sum(b)"}), "sum(b) needs a number field"),
        (summed(measures={"n": "min(o)"}), "min(o) needs a field of numbers, texts or times"),
        (summed(measures={"n": "count_distinct(o)"}), "count_distinct(o) needs a field that is not an object"),
        (summed(measures={"n": "max(unknown)"}), "max(unknown) needs a field"),
        (summed(name="r" * 58, measures={"n": "min(id)"}), "has a name that is too long"),
        ({"name": "others"}, "remove the key"),
        (
            {"title": 5, "fields": [{"name": "id", "tpye": "integer"}]},
            "fields[0].tpye: unknown key; did you mean 'type'",
        ),
        ({"indexes": [["name"]]}, "'name' must have a max_length"),
        ({"indexes": [["id"], ["id"]]}, "indexes[1] is declared twice"),
        ({"indexes": [[]]}, "indexes[0] names no field"),
        ({"indexes": [["id", "id"]]}, "indexes[0] names 'id' more than once"),
        ({"search": {"fields": []}}, "search.fields is empty"),
        ({"search": {"fields": ["name"], "language": "klingon"}}, "is not supported; choose one of arabic"),
        ({"fields": [{"name": "Id", "type": "integer"}]}, "is not a name"),
        ({"fields": [{"name": "id", "type": "int"}], "primary_key": []}, "known are integer"),
        ({"fields": [{"name": "id", "type": "string", "pattern": "("}], "primary_key": []}, "no regular expression"),
        (of("id", type="integer\n"), "known are integer"),
        (of("id\n", type="integer"), "is not a name"),
        (of("xmin", type="integer"), "the name of a system column"),
        (of("a", type="decimal(39,2)"), "known are integer"),
        (of("a", type="string", generated=True), "its type must be integer"),
        (of("a", type="integer", generated=True, default=1), "can't have a default"),
        (of("a", type="integer", max_length=5), "only string fields have"),
        (of("a", type="string", max_length=0), "a max_length below 1"),
        (of("a", type="string", minimum=5), "has minimum, which a string can't have"),
        (of("a", type="integer", minimum="x"), "has the minimum 'x', which is no integer"),
        (of("a", type="integer", maximum=1e30), "has the maximum 1e+30"),
        (of("a", type="date", minimum="2021-02-30"), "has the minimum '2021-02-30'"),
        (of("a", type="integer", minimum=5, maximum=4), "a minimum above its maximum"),
        (of("a", type="date", minimum="2021-02-03", maximum="2021-02-02"), "a minimum above its maximum"),
        (of("a", type="string", enum=[]), "without a value"),
        (of("a", type="string", enum=["x", "x"]), "occurs twice"),
        (of("a", type="integer", enum=["x"]), "has 'x' in its enum"),
        (of("a", type="string", references="things"), "not of the form dataset.field"),
        (of("a", type="integer", default="x"), "has the default 'x', which is no integer"),
        (of("a", type="integer", default="now"), "has the default 'now'"),
        (of("a", type="string", default=5), "which is not text"),
        (of("a", type="string", default="x\0"), "which is no string"),
        (of("a", type="string", enum=["x"], default="y"), "not in its enum"),
        (of("a", type="string", max_length=1, default="yy"), "longer than its max_length"),
        (of("a", type="object", default="{"), "which is no object"),
        ({**of("a", type="object", required=True), "primary_key": ["a"]}, "which is an object"),
        ({**of("a", type="string", required=True), "primary_key": ["a"]}, "'a' must have a max_length"),
        (
            {**of("a", type="string", required=True, max_length=601), "primary_key": ["a"]},
            "'a' must have a max_length, in total at most 600",
        ),
        ({"fields": [{"name": f"a{n}", "type": "date"} for n in range(401)], "primary_key": []}, "room for"),
        ({"colour": "red"}, "colour: unknown key; known keys: "),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    assert message in refused(**changes)


def test_all_mistakes_are_named_at_once() -> None:
    lines = refused(primary_key=["x"], indexes=[["y"]], search={"fields": ["z"]}).splitlines()
    assert len(lines) == 3


def test_mistakes_of_the_shape_are_named_all_at_once_with_their_places() -> None:
    with pytest.raises(BadDeclaration) as caught:
        declared(title=None, fields=[{"name": 1}, "id"], partition_by={"every": "month"}, colour="red", search=None)
    assert [mistake.pointer for mistake in caught.value.mistakes] == [
        "#/colour",
        "#/title",
        "#/fields/0/name",
        "#/fields/0/type",
        "#/fields/1",
        "#/partition_by/field",
        "#/partition_by/every",
    ]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        (of("a", type="integer", default="x"), "#/fields/0/default"),
        ({"primary_key": ["nothing"]}, "#/primary_key"),
        ({"indexes": [["id"], ["at", "nothing"]]}, "#/indexes/1"),
        ({"search": {"fields": ["name"], "language": "klingon"}}, "#/search/language"),
        ({"partition_by": {"field": "name", "every": "year"}, "primary_key": []}, "#/partition_by/field"),
        ({"rollups": [{"name": "r", "group_by": ["id"], "measures": {}}]}, "#/rollups/0"),
    ],
)
def test_a_mistake_has_its_place(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BadDeclaration) as caught:
        declared(**changes)
    assert caught.value.mistakes[0].pointer == pointer


def test_dates_of_toml_are_those_of_json() -> None:
    field = {"name": "at", "type": "datetime", "minimum": date(2020, 1, 1), "default": datetime(2021, 1, 1, tzinfo=UTC)}
    assert declared(fields=[field], primary_key=[]) == declared(
        fields=[{**field, "minimum": "2020-01-01", "default": "2021-01-01T00:00:00Z"}], primary_key=[]
    )


def test_whole_numbers_stay_exact() -> None:
    assert declared(**of("a", type="integer", minimum=9007199254740993)).fields[0].minimum == 9007199254740993


@pytest.mark.parametrize("name", ["infer", "Things", "a" * 58, "things\n", "1st"])
def test_not_every_name_can_be_that_of_a_dataset(name: str) -> None:
    with pytest.raises(BadDeclaration):
        to_dataset(name, SIMPLE)


@pytest.mark.parametrize("declaration", [None, [], "x", 1])
def test_a_declaration_is_an_object(declaration: Any) -> None:
    with pytest.raises(BadDeclaration, match="must be an object"):
        to_dataset("things", declaration)


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
