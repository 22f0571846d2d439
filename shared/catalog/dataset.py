"""A dataset: a declared table with what should be searchable and summed up about it."""

import re
from typing import Any, Literal

import msgspec

from shared.catalog import kinds
from shared.catalog.rollup import Rollup

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
ROW_KEY = "_id"
"""The key of a dataset that declares none: its rows are only appended."""
LONGEST_IDENTIFIER = 63
LONGEST_NAME = LONGEST_IDENTIFIER - len("__2021")
"""Room for the name of a partition: `<dataset>__<year>`."""


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column. A `generated` one is numbered by Postgres and never read from input."""

    name: str
    type: str
    required: bool = False
    generated: bool = False
    max_length: int | None = None
    minimum: float | str | None = None
    maximum: float | str | None = None
    enum: tuple[str, ...] | None = None
    pattern: str | None = None
    default: Any = None
    references: str | None = None
    description: str = ""


class Partition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table a year, by the year of `field` in UTC."""

    field: str
    every: Literal["year"]


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which fields are searched, stemmed in which of Postgres' languages."""

    fields: tuple[str, ...]
    language: str = "english"


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A declaration, as in `catalog/datasets/<name>.toml` and in `GET /v1/datasets/{name}`."""

    name: str
    title: str
    fields: tuple[Field, ...]
    description: str = ""
    primary_key: tuple[str, ...] = ()
    partition_by: Partition | None = None
    indexes: tuple[tuple[str, ...], ...] = ()
    search: Search | None = None
    rollups: tuple[Rollup, ...] = ()
    sources: tuple[dict[str, Any], ...] = ()

    def field(self, name: str) -> Field:
        """Raises KeyError for a field that is not declared."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def input_fields(self) -> tuple[Field, ...]:
        """The fields that a file may bring, in declared order."""
        return tuple(field for field in self.fields if not field.generated)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that tell rows apart, declared or ours."""
        return self.primary_key or (ROW_KEY,)


def mistakes(dataset: Dataset) -> list[str]:
    """Everything wrong with a declaration, a sentence each; empty when it can be used."""
    names = [field.name for field in dataset.fields]
    found = _mistakes_of_names(dataset, names)
    found += [f"field {name!r} is declared twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if not dataset.input_fields:
        found.append("there is no field that a file could fill")
    for field in dataset.fields:
        found += _mistakes_of_field(field)
    for place, wanted in _mentions(dataset):
        found += [f"{place} names {name!r}, which is not a field" for name in wanted if name not in names]
    if found:
        return found
    found += [
        f"primary_key field {name!r} must be required"
        for name in dataset.primary_key
        if not (dataset.field(name).required or dataset.field(name).generated)
    ]
    if dataset.search:
        found += [
            f"search.fields: {name!r} is {dataset.field(name).type}, only string fields can be searched"
            for name in dataset.search.fields
            if dataset.field(name).type != "string"
        ]
        if not re.fullmatch(r"[a-z_]{1,63}", dataset.search.language):
            found.append(
                f"search.language {dataset.search.language!r} is not a name of a Postgres text search language"
            )
    if dataset.partition_by:
        found += _mistakes_of_partition(dataset, dataset.partition_by)
    types = {field.name: field.type for field in dataset.fields}
    for rollup in dataset.rollups:
        found += rollup.mistakes(types)
    return found


def _mistakes_of_names(dataset: Dataset, names: list[str]) -> list[str]:
    found = [
        f"{name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, {LONGEST_IDENTIFIER} at most"
        for name in [dataset.name, *names]
        if not NAME.match(name)
    ]
    if "__" in dataset.name or len(dataset.name) > LONGEST_NAME:
        found.append(f"{dataset.name!r}: the name of a dataset has {LONGEST_NAME} characters at most and no double _")
    tables = [rollup.table(dataset.name) for rollup in dataset.rollups]
    found += [f"rollup table {name!r} has a name that is too long" for name in tables if len(name) > LONGEST_IDENTIFIER]
    return found


def _mistakes_of_field(field: Field) -> list[str]:
    found = []
    if not kinds.is_known(field.type):
        known = ", ".join([*kinds.SQL, "decimal(digits,scale)"])
        found.append(f"field {field.name!r} has type {field.type!r}; known are {known}")
    if field.generated and field.type != "integer":
        found.append(f"field {field.name!r} is generated, so its type must be integer")
    if field.max_length is not None and field.type != "string":
        found.append(f"field {field.name!r} has max_length, which only string fields have")
    if field.pattern is not None:
        try:
            re.compile(field.pattern)
        except re.error as error:
            found.append(f"field {field.name!r} has a pattern that is no regular expression: {error}")
    return found


def _mistakes_of_partition(dataset: Dataset, partition: Partition) -> list[str]:
    found = []
    if dataset.field(partition.field).type not in ("date", "datetime"):
        found.append(f"partition_by.field {partition.field!r} must be a date or a datetime")
    if dataset.primary_key and partition.field not in dataset.primary_key:
        found.append(f"primary_key must contain {partition.field!r}, because Postgres keeps keys within a partition")
    if not dataset.field(partition.field).required:
        found.append(f"partition_by.field {partition.field!r} must be required")
    return found


def _mentions(dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    """Every place of a declaration that names fields."""
    places: list[tuple[str, tuple[str, ...]]] = [("primary_key", dataset.primary_key)]
    places += [(f"indexes[{number}]", index) for number, index in enumerate(dataset.indexes)]
    if dataset.partition_by:
        places.append(("partition_by.field", (dataset.partition_by.field,)))
    if dataset.search:
        places.append(("search.fields", dataset.search.fields))
    return places
