"""The Postgres table that a declaration asks for, as SQL. Pure."""

from collections.abc import Sequence

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
        # Only those who index or sum up a chunk look for its rows.
        *([_chunks_index(table)] if dataset.tracks_changes else []),
        *(f"CREATE INDEX ON {table} ({quoted(*index)})" for index in dataset.indexes),
    ]


def _chunks_index(table: str) -> str:
    return f'CREATE INDEX IF NOT EXISTS {table.removeprefix("data.")[:-1]}__chunk" ON {table} ("_chunk")'


def create_partition(dataset: Dataset, year: int) -> list[str]:
    """Attached, not created in place: that would lock out everyone who reads or loads other years."""
    table, partition = f"data.{quoted(dataset.name)}", f"data.{quoted(partition_name(dataset, year))}"
    return [
        f"CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        f"ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')",
    ]


def detach_partition(dataset: Dataset, year: int) -> list[str]:
    """With all that it has: its key, its indexes, and who may read it."""
    table, partition = f"data.{quoted(dataset.name)}", f"data.{quoted(partition_name(dataset, year))}"
    return [
        f"ALTER TABLE {table} DETACH PARTITION {partition}",
        f"ALTER TABLE {partition} SET SCHEMA detached",
    ]


def partition_name(dataset: Dataset, year: int) -> str:
    """`hired_employees__2021`."""
    return f"{dataset.name}__{year}"


def evolve(old: Dataset, new: Dataset) -> list[str]:
    """Statements that take the table from one declaration to a next one that `evolution.refusals` has let through."""
    table = f"data.{quoted(new.name)}"
    before = {field.name: field for field in old.fields}
    statements = []
    for field in new.fields:
        if field.name not in before:
            statements += _add(table, field)
        else:
            statements += _alter(table, before[field.name], field)
    if new.tracks_changes and not old.tracks_changes:
        statements.append(_chunks_index(table))  # it stays when the last reader goes: another may come
    statements += [_drop_index(table, index) for index in old.indexes if index not in new.indexes]
    statements += [f"CREATE INDEX ON {table} ({quoted(*i)})" for i in new.indexes if i not in old.indexes]
    return statements


def _add(table: str, field: Field) -> list[str]:
    """Rows that are there get the default, as if they came now; but they didn't come now."""
    if not field.defaults_to_now:
        return [f"ALTER TABLE {table} ADD COLUMN {_column(field)}"]
    plain = msgspec.structs.replace(field, default=None)
    return [f"ALTER TABLE {table} ADD COLUMN {_column(plain)}", *_alter(table, plain, field)]


def _alter(table: str, old: Field, new: Field) -> list[str]:
    column = f"ALTER TABLE {table} ALTER COLUMN {quoted(new.name)}"
    statements = []
    if old.required and not new.required:
        statements.append(f"{column} DROP NOT NULL")
    if new.default != old.default:
        statements.append(f"{column} SET {_default(new)}" if _default(new) else f"{column} DROP DEFAULT")
    return statements


def _drop_index(table: str, index: Sequence[str]) -> str:
    """Postgres has named it, so it is found by its columns."""
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


def _column(field: Field) -> str:
    words = [quoted(field.name), kinds.sql(field.type)]
    if field.generated:
        words.append("GENERATED ALWAYS AS IDENTITY")
    elif field.required:
        words.append("NOT NULL")
    return " ".join([*words, _default(field)]).rstrip()


def _default(field: Field) -> str:
    if field.default is None:
        return ""
    if field.defaults_to_now:
        return "DEFAULT now()"
    text = field.default if isinstance(field.default, str) else msgspec.json.encode(field.default).decode()
    literal = text.replace("'", "''")
    return f"DEFAULT '{literal}'"
