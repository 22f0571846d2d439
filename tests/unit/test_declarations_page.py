"""docs/reference/declarations.md names every key of a declaration with its default; its example is valid."""

import re
import tomllib
from typing import get_args

import msgspec
import pytest

from shared.catalog import dataset, field_types, paginators, rollup, schedule, source
from shared.catalog.files import to_dataset
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "reference" / "declarations.md").read_text()
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "Dataset": dataset.Dataset,
    "Field": dataset.Field,
    "partition_by": dataset.Partition,
    "search": dataset.Search,
    "rollups": rollup.Rollup,
    "sources": source.Source,
    "incremental": source.Incremental,
    "delete_missing": source.DeleteMissing,
    "schedule": schedule.Schedule,
    "dictionary": dataset.Dictionary,
}
CHOICES = {
    "Paginators": get_args(paginators.AnyPaginator),
    "auth": get_args(source.Auth),
}


def documented(heading: str) -> dict[str, str]:
    """The keys of a section's table with their defaults."""
    section = re.split(rf"^#+ {heading}$", PAGE, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| (?=[^|]*`)([^|]*?) \| ?([^|]*?) ?\|", section, re.MULTILINE))


def declared(kind: type[msgspec.Struct], prefix: str = "") -> dict[str, str]:
    """The same of a struct. A dataset's own name stands in its path."""
    fields = {field.encode_name: _default(field) for field in msgspec.structs.fields(kind)}
    if kind is dataset.Dataset:
        fields.pop("name")
    return {f"{prefix}`{name}`": default for name, default in fields.items()}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT or field.default in (None, "", (), {}):
        return ""
    return f"`{msgspec.json.encode(field.default).decode()}`"


@pytest.mark.parametrize("heading", STRUCTS)
def test_every_key_is_explained(heading: str) -> None:
    assert documented(heading) == declared(STRUCTS[heading])


@pytest.mark.parametrize("heading", CHOICES)
def test_every_key_of_what_can_be_chosen_is_explained(heading: str) -> None:
    expected: dict[str, str] = {}
    for kind in CHOICES[heading]:
        expected |= declared(kind, f"{kind.__struct_config__.tag}: ")
    assert documented(heading) == expected


def test_every_type_is_explained() -> None:
    known = {name.strip("`") for name in documented("Types")}
    assert known == set(field_types.names(decimal="decimal(15,2)"))


def test_the_example_can_be_declared() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert to_dataset("hired_employees", tomllib.loads(example)).sources[0].name == "hr"
