"""The Postgres table that a declaration asks for, as SQL. Pure."""

import msgspec

from shared.catalog import kinds
from shared.catalog.dataset import ROW_KEY, Dataset, Field


def quoted(*names: str) -> str:
    """Identifiers, quoted; the catalog lets no name through that has a quote in it."""
    return ", ".join(f'"{name}"' for name in names)


def create(dataset: Dataset) -> list[str]:
    """Statements that make the table and its indexes. `_chunk` is the ledger number of the chunk that wrote a row."""
    columns = [_column(field) for field in dataset.fields]
    if not dataset.primary_key:
        columns.append(f"{quoted(ROW_KEY)} bigint GENERATED ALWAYS AS IDENTITY")
    columns.append('"_chunk" bigint NOT NULL')
    if not (dataset.partition_by and not dataset.primary_key):
        columns.append(f"PRIMARY KEY ({quoted(*dataset.key)})")
    table = f"data.{quoted(dataset.name)}"
    partitioning = f" PARTITION BY RANGE ({quoted(dataset.partition_by.field)})" if dataset.partition_by else ""
    return [
        f"CREATE TABLE {table} ({', '.join(columns)}){partitioning}",
        f'CREATE INDEX ON {table} ("_chunk")',
        *(f"CREATE INDEX ON {table} ({quoted(*index)})" for index in dataset.indexes),
    ]


def create_partition(dataset: Dataset, year: int) -> list[str]:
    """Attached, not created in place: that would lock out everyone who reads or loads other years."""
    table, partition = f"data.{quoted(dataset.name)}", f"data.{quoted(partition_name(dataset, year))}"
    return [
        f"CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        f"ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')",
    ]


def partition_name(dataset: Dataset, year: int) -> str:
    """`hired_employees__2021`."""
    return f"{dataset.name}__{year}"


def evolve(old: Dataset, new: Dataset) -> tuple[list[str], list[str]]:
    """Statements that take the table from one declaration to the next, and why it can't be done where it can't."""
    table = f"data.{quoted(new.name)}"
    before = {field.name: field for field in old.fields}
    statements, refused = [], []
    for field in new.fields:
        if field.name not in before:
            if field.required or field.generated:
                refused.append(f"field {field.name!r} can't be added as required: rows without it are there already")
            statements.append(f"ALTER TABLE {table} ADD COLUMN {_column(field)}")
        else:
            refused += _refused(before[field.name], field)
            if before[field.name].required and not field.required:
                statements.append(f"ALTER TABLE {table} ALTER COLUMN {quoted(field.name)} DROP NOT NULL")
    refused += [
        f"field {name!r} can't be removed: its values would be lost"
        for name in before.keys() - {field.name for field in new.fields}
    ]
    refused += [
        f"{word} can't change: import into a dataset of another name"
        for word in ("primary_key", "partition_by", "rollups", "search")
        if getattr(old, word) != getattr(new, word)
    ]
    fresh = [index for index in new.indexes if index not in old.indexes]
    statements += [f"CREATE INDEX ON {table} ({quoted(*index)})" for index in fresh]
    return statements, refused


def _refused(old: Field, new: Field) -> list[str]:
    if (new.type, new.generated) != (old.type, old.generated):
        return [f"field {new.name!r} can't become {new.type}: its values are {old.type}"]
    if new.required and not old.required:
        return [f"field {new.name!r} can't become required: rows without it may be there already"]
    return []


def _column(field: Field) -> str:
    words = [quoted(field.name), kinds.sql(field.type)]
    if field.generated:
        words.append("GENERATED ALWAYS AS IDENTITY")
    elif field.required:
        words.append("NOT NULL")
    if field.default == "now" and field.type in ("date", "datetime"):
        words.append("DEFAULT now()")
    elif field.default is not None:
        text = field.default if isinstance(field.default, str) else msgspec.json.encode(field.default).decode()
        literal = text.replace("'", "''")
        words.append(f"DEFAULT '{literal}'")
    return " ".join(words)
