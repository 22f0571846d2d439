"""Declaration of a dataset: its table, search index, rollups, sources and dictionary."""

from typing import Any, Literal

import msgspec

from shared.catalog.rollup import Rollup
from shared.catalog.source import Auth, Source

ROW_KEY = "_id"
"""The key column of a dataset without a primary key, to which rows are only appended."""


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column. Postgres numbers a `generated` one, and input must not contain it."""

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
        """Whether the default is the time of loading."""
        return self.default == "now" and self.type in ("date", "datetime")


class Partition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Partitions by the year of `field` in UTC."""

    field: str
    every: Literal["year"]


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Search index: its fields, the language of the stemmer, and the weight of each field."""

    fields: tuple[str, ...]
    language: str = "english"
    weights: dict[str, float] = {}

    @property
    def stemmer(self) -> str:
        """The name of the text search dictionary that stems words in Postgres."""
        return "simple" if self.language == "simple" else f"{self.language}_stem"

    def has_same_documents(self, other: "Search") -> bool:
        """Returns whether both need the same index: weights apply only to queries."""
        return (self.fields, self.language) == (other.fields, other.language)


class Dictionary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An outside API with the meaning and pronunciation of the `words` most frequent words of a dataset.

    `url` contains `{word}`.
    """

    url: str
    auth: Auth | None = None
    words: int = 100
    requests_per_second: float = 5


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
        """Returns a field by name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def source(self, name: str) -> Source:
        """Returns a source by name. Raises KeyError."""
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    @property
    def input_fields(self) -> tuple[Field, ...]:
        """The fields that input may contain, in declared order."""
        return tuple(field for field in self.fields if not field.generated)

    @property
    def key(self) -> tuple[str, ...]:
        """The key columns: the declared primary key, or ROW_KEY."""
        return self.primary_key or (ROW_KEY,)

    @property
    def keyed(self) -> bool:
        """Whether input rows contain their key and so can update existing rows. Otherwise rows are only appended."""
        return bool(self.primary_key) and not any(self.field(name).generated for name in self.primary_key)

    @property
    def tracks_changes(self) -> bool:
        """Whether search or rollups need the rows that a chunk changed."""
        return self.search is not None or bool(self.rollups)
