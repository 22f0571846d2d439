"""A dataset: a declared table with what should be searchable and summed up about it."""

from typing import Any, Literal

import msgspec

from shared.catalog.dictionary import Dictionary
from shared.catalog.rollup import Rollup
from shared.catalog.source import Source

ROW_KEY = "_id"
"""The key of a dataset that declares none: its rows are only appended."""


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column. A `generated` one is numbered by Postgres and never read from input."""

    name: str
    type: str
    required: bool = False
    generated: bool = False
    max_length: int | None = None
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    enum: tuple[str, ...] | None = None
    pattern: str | None = None
    default: Any = None
    references: str | None = None
    description: str = ""

    @property
    def defaults_to_now(self) -> bool:
        """Whether a missing value is the moment at which the row comes, and not a constant."""
        return self.default == "now" and self.type in ("date", "datetime")


class Partition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table a year, by the year of `field` in UTC."""

    field: str
    every: Literal["year"]


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which fields are searched, stemmed in which of Postgres' languages, and how much the words of each weigh."""

    fields: tuple[str, ...]
    language: str = "english"
    weights: dict[str, float] = {}

    @property
    def stemmer(self) -> str:
        """Postgres' dictionary that stems words."""
        return "simple" if self.language == "simple" else f"{self.language}_stem"

    def makes_the_same_as(self, other: "Search") -> bool:
        """Whether documents of the one serve the other: weights count when questions are answered."""
        return (self.fields, self.language) == (other.fields, other.language)


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
    sources: tuple[Source, ...] = ()
    dictionary: Dictionary | None = None

    def field(self, name: str) -> Field:
        """Raises KeyError for a field that is not declared."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def source(self, name: str) -> Source:
        """Raises KeyError for a source that is not declared."""
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    @property
    def input_fields(self) -> tuple[Field, ...]:
        """The fields that a file may bring, in declared order."""
        return tuple(field for field in self.fields if not field.generated)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that tell rows apart, declared or ours."""
        return self.primary_key or (ROW_KEY,)

    @property
    def keyed(self) -> bool:
        """Whether a row that comes in can be one that is there: it brings its key. Otherwise rows are only added."""
        return bool(self.primary_key) and not any(self.field(name).generated for name in self.primary_key)

    @property
    def has_readers(self) -> bool:
        """Whether anyone wants to know which rows a chunk changed: search or rollups."""
        return self.search is not None or bool(self.rollups)
