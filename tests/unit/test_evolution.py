"""Which changes of a declaration are allowed."""

from typing import Any

import pytest

from services.ingestor import ddl
from shared.catalog.dataset import Dataset
from shared.catalog.evolution import find_conflicts
from shared.catalog.files import to_dataset

ID = {"name": "id", "type": "integer", "required": True}
NAME = {"name": "name", "type": "string", "max_length": 100}
AT = {"name": "at", "type": "datetime", "required": True}
SIMPLE: dict[str, Any] = {
    "title": "Things",
    "primary_key": ["id"],
    "fields": [ID, NAME, AT],
    "indexes": [["name"]],
    "search": {"fields": ["name"]},
}


def declared(**changes: Any) -> Dataset:
    return to_dataset("things", {**SIMPLE, **changes})


def with_field(**field: Any) -> dict[str, Any]:
    return {"fields": [ID, NAME, AT, field]}


def with_name(**changes: Any) -> dict[str, Any]:
    return {"fields": [ID, {**NAME, **changes}, AT]}


SAFE = [
    {"title": "Other", "description": "New"},
    with_field(name="note", type="string"),
    with_field(name="note", type="string", default="it's"),
    with_field(name="note", type="string", required=True, default="none"),
    with_field(name="seen_at", type="datetime", default="now"),
    with_name(max_length=50, pattern="^a", enum=["a", "ab"], description="A name", references="others.name"),
    with_name(default="nobody"),
    {"fields": [ID, NAME, {**AT, "required": False}]},
    {"fields": [AT, NAME, ID]},
    {"indexes": []},
    {"indexes": [["at", "name"]]},
    {"sources": []},
    {"rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "count"}}]},
]
UNSAFE = [
    ({"fields": [ID, NAME]}, "field 'at' can't be removed: its values would be lost"),
    (
        with_field(name="note", type="string", required=True),
        "field 'note' can't be added as required without a default",
    ),
    (with_field(name="seen_at", type="date", required=True, default="now"), "field 'seen_at' can't be added"),
    (with_field(name="number", type="integer", generated=True), "field 'number' can't be added as generated"),
    (with_name(required=True), "field 'name' can't become required"),
    (with_name(required=True, default="x"), "field 'name' can't become required"),
    ({"fields": [{**ID, "type": "number"}, NAME, AT]}, "field 'id' can't become number: its values are integer"),
    ({"fields": [{**ID, "generated": True}, NAME, AT]}, "field 'id' can't become generated"),
    ({"primary_key": []}, "primary_key can't change"),
    ({"primary_key": ["id", "at"], "partition_by": {"field": "at", "every": "year"}}, "partition_by can't change"),
]


@pytest.mark.parametrize("changes", SAFE)
def test_what_loses_nothing_may_follow(changes: dict[str, Any]) -> None:
    assert find_conflicts(declared(), declared(**changes)) == []


@pytest.mark.parametrize(("changes", "reason_part"), UNSAFE)
def test_what_would_lose_or_invent_something_is_refused_with_the_reason(
    changes: dict[str, Any], reason_part: str
) -> None:
    assert [reason for reason in find_conflicts(declared(), declared(**changes)) if reason_part in reason]


def test_all_reasons_are_reported() -> None:
    fields = [{**ID, "type": "uuid"}, AT, {"name": "note", "type": "string", "required": True}]
    assert len(find_conflicts(declared(), declared(fields=fields, primary_key=["at"], search=None, indexes=[]))) == 4


def test_the_same_may_follow_and_changes_nothing() -> None:
    assert find_conflicts(declared(), declared()) == []
    assert ddl.alter_table(declared(), declared()) == []


def test_rows_that_are_there_get_a_constant_but_not_the_moment_of_the_change() -> None:
    constant = declared(**with_field(name="note", type="string", default="it's"))
    assert ddl.alter_table(declared(), constant) == [
        "ALTER TABLE data.\"things\" ADD COLUMN \"note\" text DEFAULT 'it''s'"
    ]
    moment = declared(**with_field(name="seen_at", type="datetime", default="now"))
    assert ddl.alter_table(declared(), moment) == [
        'ALTER TABLE data."things" ADD COLUMN "seen_at" timestamptz',
        'ALTER TABLE data."things" ALTER COLUMN "seen_at" SET DEFAULT now()',
    ]
