"""What is wrong with a declaration that can be read: all of it, with its places."""

from collections.abc import Iterator

from shared.catalog import dictionaries, fields, sources
from shared.catalog.dataset import Dataset, Field, Partition, Search
from shared.catalog.shape import Mistake, place

LONGEST_IDENTIFIER = 63
LONGEST_NAME = LONGEST_IDENTIFIER - len("__12345w")
"""Room for the name of a partition, `<dataset>__<year>`, or of a generation of documents and its words."""
RESERVED = ("infer",)
"""Routes that stand where the name of a dataset would."""
MOST_FIELDS = 400
"""Postgres keeps a row on a page of 8 kB, where even a value that lies elsewhere needs 18 bytes."""
LONGEST_KEY = 600
"""Characters: an entry of a B-tree has 2,700 bytes at most, and a character up to four."""
OWN_WEIGHTS = 3
"""Fields whose words are weighed by themselves: Postgres tells four sorts of words apart."""
MOST_WEIGHT = 100
LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek"),
    *("hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese"),
    *("romanian", "russian", "serbian", "simple", "spanish", "swedish", "tamil", "turkish", "yiddish"),
)
"""Those that Postgres can stem, and simple for none."""


def mistakes(dataset: Dataset) -> list[Mistake]:
    """A sentence each; empty when the declaration can be used."""
    found = [*_of_names(dataset), *_of_fields(dataset)]
    found += [
        Mistake(pointer, f"{place(pointer)} names {name!r}, which is not a field")
        for pointer, wanted in _mentions(dataset)
        for name in wanted
        if name not in {field.name for field in dataset.fields}
    ]
    if found:
        return found
    found += [*_of_key(dataset), *_of_indexes(dataset)]
    if dataset.search:
        found += _of_search(dataset, dataset.search)
    if dataset.partition_by:
        found += _of_partition(dataset, dataset.partition_by)
    types = {field.name: field.type for field in dataset.fields}
    lengths = {field.name: field.max_length for field in dataset.fields}
    found += [
        Mistake(f"#/rollups/{number}", detail)
        for number, rollup in enumerate(dataset.rollups)
        for detail in rollup.mistakes(types, lengths)
    ]
    if dataset.dictionary:
        found += dictionaries.mistakes(dataset, dataset.dictionary)
    return [*found, *sources.mistakes(dataset)]


def _of_names(dataset: Dataset) -> Iterator[Mistake]:
    name, all_of_it = dataset.name, "#"
    if not fields.NAME.match(name):
        yield Mistake(all_of_it, f"{name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, 63 at most")
    if "__" in name or len(name) > LONGEST_NAME:
        yield Mistake(
            all_of_it, f"{name!r}: the name of a dataset has {LONGEST_NAME} characters at most and no double _"
        )
    if name in RESERVED:
        yield Mistake(all_of_it, f"no dataset can be called {name!r}: that is a route of its own")
    names = [rollup.name for rollup in dataset.rollups]
    for number, rollup in enumerate(dataset.rollups):
        for table in rollup.tables(name):
            if len(table) > LONGEST_IDENTIFIER:
                yield Mistake(f"#/rollups/{number}/name", f"rollup table {table!r} has a name that is too long")
        if rollup.name in names[:number]:
            detail = f"rollup table {rollup.table(name)!r} is declared twice"
            yield Mistake(f"#/rollups/{number}/name", detail)


def _of_fields(dataset: Dataset) -> Iterator[Mistake]:
    names = [field.name for field in dataset.fields]
    for number, field in enumerate(dataset.fields):
        if field.name in names[:number]:
            yield Mistake(f"#/fields/{number}/name", f"field {field.name!r} is declared twice")
        for key, detail in fields.mistakes(field):
            yield Mistake(f"#/fields/{number}/{key}", detail)
    if not dataset.input_fields:
        yield Mistake("#/fields", "there is no field that a file could fill")
    if len(names) > MOST_FIELDS:
        yield Mistake("#/fields", f"there are {len(names)} fields, more than the {MOST_FIELDS} that a row has room for")


def _of_key(dataset: Dataset) -> Iterator[Mistake]:
    for name in dataset.primary_key:
        if not (dataset.field(name).required or dataset.field(name).generated):
            yield Mistake("#/primary_key", f"primary_key field {name!r} must be required")
    yield from _of_columns(dataset, "#/primary_key", dataset.primary_key)


def _of_indexes(dataset: Dataset) -> Iterator[Mistake]:
    for number, index in enumerate(dataset.indexes):
        pointer = f"#/indexes/{number}"
        if not index:
            yield Mistake(pointer, f"{place(pointer)} names no field")
        if index in dataset.indexes[:number]:
            yield Mistake(pointer, f"{place(pointer)} is declared twice")
        yield from _of_columns(dataset, pointer, index)


def _of_columns(dataset: Dataset, pointer: str, names: tuple[str, ...]) -> Iterator[Mistake]:
    """What keeps fields from being the columns of a B-tree."""
    found = [dataset.field(name) for name in names]
    for field in found:
        if names.count(field.name) > 1:
            yield Mistake(pointer, f"{place(pointer)} names {field.name!r} more than once")
        if field.type == "object":
            yield Mistake(pointer, f"{place(pointer)} names {field.name!r}, which is an object: those have no order")
    texts = [field for field in found if field.type == "string"]
    if any(field.max_length is None for field in texts) or sum(map(_most_characters, texts)) > LONGEST_KEY:
        told = ", ".join(repr(field.name) for field in texts)
        detail = f"{place(pointer)}: {told} must have a max_length, of {LONGEST_KEY} together at most, to be indexed"
        yield Mistake(pointer, detail)


def _most_characters(field: Field) -> int:
    return field.max_length or 0


def _of_search(dataset: Dataset, search: Search) -> Iterator[Mistake]:
    if not search.fields:
        yield Mistake("#/search/fields", "search.fields is empty: leave search out for a dataset that isn't searched")
    for name in search.fields:
        if dataset.field(name).type != "string":
            detail = f"search.fields: {name!r} is {dataset.field(name).type}, only string fields can be searched"
            yield Mistake("#/search/fields", detail)
        if search.fields.count(name) > 1:
            yield Mistake("#/search/fields", f"search.fields names {name!r} more than once")
    for name, weight in search.weights.items():
        if name not in search.fields:
            yield Mistake(f"#/search/weights/{name}", f"search.weights names {name!r}, which is not in search.fields")
        if not 0 < weight <= MOST_WEIGHT:
            detail = f"search.weights: {name!r} weighs {weight:g}; a weight is above 0 and {MOST_WEIGHT} at most"
            yield Mistake(f"#/search/weights/{name}", detail)
    if len({search.weights.get(name, 1) for name in search.fields[OWN_WEIGHTS:]}) > 1:
        told = ", ".join(repr(name) for name in search.fields[OWN_WEIGHTS:])
        yield Mistake("#/search/weights", f"search.weights: {told} share a weight, as all fields after the third do")
    if search.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        detail = f"search.language {search.language!r} is not a name of a Postgres text search language: {known}"
        yield Mistake("#/search/language", detail)


def _of_partition(dataset: Dataset, partition: Partition) -> Iterator[Mistake]:
    pointer, name = "#/partition_by/field", partition.field
    if dataset.field(name).type not in ("date", "datetime"):
        yield Mistake(pointer, f"partition_by.field {name!r} must be a date or a datetime")
    if dataset.primary_key and name not in dataset.primary_key:
        detail = f"primary_key must contain {name!r}, because Postgres keeps keys within a partition"
        yield Mistake("#/primary_key", detail)
    if not dataset.field(name).required:
        yield Mistake(pointer, f"partition_by.field {name!r} must be required")


def _mentions(dataset: Dataset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every place of a declaration that names fields."""
    yield "#/primary_key", dataset.primary_key
    for number, index in enumerate(dataset.indexes):
        yield f"#/indexes/{number}", index
    if dataset.partition_by:
        yield "#/partition_by/field", (dataset.partition_by.field,)
    if dataset.search:
        yield "#/search/fields", dataset.search.fields
