"""Finds mistakes in the declaration of a dataset whose keys and value types are right."""

from collections.abc import Iterator

from shared.catalog import dictionary_mistakes, field_mistakes, source_mistakes
from shared.catalog.dataset import Dataset, Partition, Search
from shared.catalog.shape import Mistake, to_path

LONGEST_IDENTIFIER = 63
LONGEST_NAME = LONGEST_IDENTIFIER - len("__12345w")
"""Leaves room for suffixes: of a partition, `<dataset>__<year>`, or of an index generation and its words."""
RESERVED = ("infer",)
"""Names of routes below /v1/datasets/."""
MOST_FIELDS = 400
"""A row must fit into a page of 8 kB, where even an out-of-line value needs 18 bytes."""
LONGEST_KEY = 600
"""Characters of up to four bytes: Postgres limits an index entry to 2,700 bytes."""
OWN_WEIGHTS = 3
"""Fields with a weight of their own: Postgres has four weight labels, and the last is for all other fields."""
MOST_WEIGHT = 100
LANGUAGES = (
    *("arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german", "greek"),
    *("hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese"),
    *("romanian", "russian", "serbian", "simple", "spanish", "swedish", "tamil", "turkish", "yiddish"),
)
"""The stemmers of Postgres, and `simple` for no stemming."""


def find_mistakes(dataset: Dataset) -> list[Mistake]:
    """Returns all mistakes."""
    mistakes = [*_check_names(dataset), *_check_fields(dataset)]
    mistakes += [
        Mistake(pointer, f"{to_path(pointer)} names {name!r}, which is not a field")
        for pointer, names in _field_references(dataset)
        for name in names
        if name not in {field.name for field in dataset.fields}
    ]
    if mistakes:
        return mistakes
    mistakes += [*_check_key(dataset), *_check_indexes(dataset)]
    if dataset.search:
        mistakes += _check_search(dataset, dataset.search)
    if dataset.partition_by:
        mistakes += _check_partition(dataset, dataset.partition_by)
    types = {field.name: field.type for field in dataset.fields}
    lengths = {field.name: field.max_length for field in dataset.fields}
    mistakes += [
        Mistake(f"#/rollups/{number}", detail)
        for number, rollup in enumerate(dataset.rollups)
        for detail in rollup.find_mistakes(types, lengths)
    ]
    if dataset.dictionary:
        mistakes += dictionary_mistakes.find_mistakes(dataset, dataset.dictionary)
    return [*mistakes, *source_mistakes.find_mistakes(dataset)]


def _check_names(dataset: Dataset) -> Iterator[Mistake]:
    name, root = dataset.name, "#"
    if not field_mistakes.NAME.match(name):
        yield Mistake(root, f"{name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, 63 at most")
    if "__" in name or len(name) > LONGEST_NAME:
        yield Mistake(root, f"{name!r}: a dataset's name has at most {LONGEST_NAME} characters and no double _")
    if name in RESERVED:
        yield Mistake(root, f"{name!r} is reserved: choose another name for the dataset")
    names = [rollup.name for rollup in dataset.rollups]
    for number, rollup in enumerate(dataset.rollups):
        for table in rollup.tables(name):
            if len(table) > LONGEST_IDENTIFIER:
                yield Mistake(
                    f"#/rollups/{number}/name",
                    f"rollup table {table!r} has a name that is too long",
                )
        if rollup.name in names[:number]:
            detail = f"rollup table {rollup.table(name)!r} is declared twice"
            yield Mistake(f"#/rollups/{number}/name", detail)


def _check_fields(dataset: Dataset) -> Iterator[Mistake]:
    names = [field.name for field in dataset.fields]
    for number, field in enumerate(dataset.fields):
        if field.name in names[:number]:
            yield Mistake(f"#/fields/{number}/name", f"field {field.name!r} is declared twice")
        for key, detail in field_mistakes.find_mistakes(field):
            yield Mistake(f"#/fields/{number}/{key}", detail)
    if not dataset.input_fields:
        yield Mistake("#/fields", "declare at least one field that is not generated")
    if len(names) > MOST_FIELDS:
        yield Mistake("#/fields", f"there are {len(names)} fields; a row has room for at most {MOST_FIELDS}")


def _check_key(dataset: Dataset) -> Iterator[Mistake]:
    for name in dataset.primary_key:
        if not (dataset.field(name).required or dataset.field(name).generated):
            yield Mistake("#/primary_key", f"primary_key field {name!r} must be required")
    yield from _check_columns(dataset, "#/primary_key", dataset.primary_key)


def _check_indexes(dataset: Dataset) -> Iterator[Mistake]:
    for number, index in enumerate(dataset.indexes):
        pointer = f"#/indexes/{number}"
        if not index:
            yield Mistake(pointer, f"{to_path(pointer)} names no field: name one, or remove it")
        if index in dataset.indexes[:number]:
            yield Mistake(pointer, f"{to_path(pointer)} is declared twice")
        yield from _check_columns(dataset, pointer, index)


def _check_columns(dataset: Dataset, pointer: str, names: tuple[str, ...]) -> Iterator[Mistake]:
    """Checks that an index can have these columns."""
    columns = [dataset.field(name) for name in names]
    for field in columns:
        if names.count(field.name) > 1:
            yield Mistake(pointer, f"{to_path(pointer)} names {field.name!r} more than once")
        if field.type == "object":
            yield Mistake(pointer, f"{to_path(pointer)} names {field.name!r}, which is an object and can't be indexed")
    texts = [field for field in columns if field.type == "string"]
    if any(field.max_length is None for field in texts) or sum(field.max_length or 0 for field in texts) > LONGEST_KEY:
        listed = ", ".join(repr(field.name) for field in texts)
        detail = f"{to_path(pointer)}: {listed} must have a max_length, in total at most {LONGEST_KEY}, to be indexed"
        yield Mistake(pointer, detail)


def _check_search(dataset: Dataset, search: Search) -> Iterator[Mistake]:
    if not search.fields:
        yield Mistake("#/search/fields", "search.fields is empty: name a field, or remove search")
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
            detail = f"search.weights: {name!r} weighs {weight:g}; a weight must be above 0 and at most {MOST_WEIGHT}"
            yield Mistake(f"#/search/weights/{name}", detail)
    if len({search.weights.get(name, 1) for name in search.fields[OWN_WEIGHTS:]}) > 1:
        listed = ", ".join(repr(name) for name in search.fields[OWN_WEIGHTS:])
        detail = f"search.weights: {listed} must have the same weight, like all fields after the third"
        yield Mistake("#/search/weights", detail)
    if search.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        detail = f"search.language {search.language!r} is not supported; choose one of {known}"
        yield Mistake("#/search/language", detail)


def _check_partition(dataset: Dataset, partition: Partition) -> Iterator[Mistake]:
    pointer, name = "#/partition_by/field", partition.field
    if dataset.field(name).type not in ("date", "datetime"):
        yield Mistake(pointer, f"partition_by.field {name!r} must be a date or a datetime")
    if dataset.primary_key and name not in dataset.primary_key:
        detail = f"primary_key must contain {name!r}, because Postgres enforces keys within a partition"
        yield Mistake("#/primary_key", detail)
    if not dataset.field(name).required:
        yield Mistake(pointer, f"partition_by.field {name!r} must be required")


def _field_references(dataset: Dataset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields each list of field names with its pointer."""
    yield "#/primary_key", dataset.primary_key
    for number, index in enumerate(dataset.indexes):
        yield f"#/indexes/{number}", index
    if dataset.partition_by:
        yield "#/partition_by/field", (dataset.partition_by.field,)
    if dataset.search:
        yield "#/search/fields", dataset.search.fields
