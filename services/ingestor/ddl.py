"""DDL of dataset tables: statements that create, alter and partition them. Pure."""

from collections.abc import Sequence

import msgspec

from shared.catalog import field_types
from shared.catalog.dataset import ROW_KEY, Dataset, Field


def quote(*names: str) -> str:
    """Returns identifiers in quotes, separated by commas. The catalog allows no name that contains a quote."""
    return ", ".join(f'"{name}"' for name in names)


def create_table(dataset: Dataset) -> list[str]:
    """Returns statements that create the table and its indexes. `_chunk` is the ledger number of a row's chunk."""
    columns = [_column_definition(field) for field in dataset.fields]
    if not dataset.primary_key:
        columns.append(f"{quote(ROW_KEY)} bigint GENERATED ALWAYS AS IDENTITY")
    columns.append('"_chunk" bigint NOT NULL')
    if not (dataset.partition_by and not dataset.primary_key):
        columns.append(f"PRIMARY KEY ({quote(*dataset.key)})")
    table = f"data.{quote(dataset.name)}"
    partitioning = f" PARTITION BY RANGE ({quote(dataset.partition_by.field)})" if dataset.partition_by else ""
    return [
        f"CREATE TABLE {table} ({', '.join(columns)}){partitioning}",
        # Only search and rollups look up the rows of a chunk.
        *([_create_chunk_index(table)] if dataset.tracks_changes else []),
        *(f"CREATE INDEX ON {table} ({quote(*index)})" for index in dataset.indexes),
    ]


def _create_chunk_index(table: str) -> str:
    return f'CREATE INDEX IF NOT EXISTS {table.removeprefix("data.")[:-1]}__chunk" ON {table} ("_chunk")'


def create_partition(dataset: Dataset, year: int) -> list[str]:
    """Attaches a new table. Creating the partition in place would block readers and writers of other years."""
    table, partition = f"data.{quote(dataset.name)}", f"data.{quote(partition_name(dataset, year))}"
    return [
        f"CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        f"ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')",
    ]


def detach_partition(dataset: Dataset, year: int) -> list[str]:
    """Moves the table of a year into schema `detached`, with its key, indexes and grants."""
    table, partition = f"data.{quote(dataset.name)}", f"data.{quote(partition_name(dataset, year))}"
    return [
        f"ALTER TABLE {table} DETACH PARTITION {partition}",
        f"ALTER TABLE {partition} SET SCHEMA detached",
    ]


def partition_name(dataset: Dataset, year: int) -> str:
    """Returns the name of a year's table, like `hired_employees__2021`."""
    return f"{dataset.name}__{year}"


def alter_table(old: Dataset, new: Dataset) -> list[str]:
    """Returns statements that change the table from one declaration to another without conflicts with it."""
    table = f"data.{quote(new.name)}"
    before = {field.name: field for field in old.fields}
    statements = []
    for field in new.fields:
        if field.name not in before:
            statements += _add_column(table, field)
        else:
            statements += _alter_column(table, before[field.name], field)
    if new.tracks_changes and not old.tracks_changes:
        statements.append(_create_chunk_index(table))  # never dropped: search or rollups may be declared again
    statements += [_drop_index(table, index) for index in old.indexes if index not in new.indexes]
    statements += [f"CREATE INDEX ON {table} ({quote(*i)})" for i in new.indexes if i not in old.indexes]
    return statements


def _add_column(table: str, field: Field) -> list[str]:
    """Existing rows get the default, except a default of `now`: they did not come now."""
    if not field.defaults_to_now:
        return [f"ALTER TABLE {table} ADD COLUMN {_column_definition(field)}"]
    plain = msgspec.structs.replace(field, default=None)
    return [f"ALTER TABLE {table} ADD COLUMN {_column_definition(plain)}", *_alter_column(table, plain, field)]


def _alter_column(table: str, old: Field, new: Field) -> list[str]:
    column = f"ALTER TABLE {table} ALTER COLUMN {quote(new.name)}"
    statements = []
    if old.required and not new.required:
        statements.append(f"{column} DROP NOT NULL")
    if new.default != old.default:
        statements.append(f"{column} SET {_default_clause(new)}" if _default_clause(new) else f"{column} DROP DEFAULT")
    return statements


def _drop_index(table: str, index: Sequence[str]) -> str:
    """Finds the index by its columns, because Postgres chose its name."""
    columns = ", ".join(f"'{name}'" for name in index)
    return f"""
        DO $$ DECLARE found regclass; BEGIN
            SELECT indexrelid INTO STRICT found FROM pg_index i
            WHERE indrelid = '{table}'::regclass AND NOT indisunique AND ARRAY[{columns}] = (
                SELECT array_agg(attname::text ORDER BY place)
                FROM unnest(i.indkey) WITH ORDINALITY k (attnum, place)
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            ) LIMIT 1;
            EXECUTE format('DROP INDEX %s', found);
        END $$
    """


def _column_definition(field: Field) -> str:
    words = [quote(field.name), field_types.find(field.type).sql]
    if field.generated:
        words.append("GENERATED ALWAYS AS IDENTITY")
    elif field.required:
        words.append("NOT NULL")
    return " ".join([*words, _default_clause(field)]).rstrip()


def _default_clause(field: Field) -> str:
    if field.default is None:
        return ""
    if field.defaults_to_now:
        return "DEFAULT now()"
    text = field.default if isinstance(field.default, str) else msgspec.json.encode(field.default).decode()
    literal = text.replace("'", "''")
    return f"DEFAULT '{literal}'"
