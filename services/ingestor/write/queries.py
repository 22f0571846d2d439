"""Queries about declarations and rows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import polars as pl

from services.ingestor import ddl
from shared.catalog import field_types
from shared.catalog.dataset import Dataset
from shared.db import Connection

COPY_SECONDS = 300.0
ALTER_SECONDS = 600.0
LOCK_SECONDS = 2
DECLARATION_LOCK = 0x64617461


class DuplicateKey(Exception):
    """A row's key is in the table already, or twice among the rows."""


async def lock_declarations(db: Connection) -> None:
    """Lets one transaction at a time declare datasets or create partitions."""
    await db.execute("SELECT pg_advisory_xact_lock($1)", DECLARATION_LOCK)


async def limit_lock_waits(db: Connection) -> None:
    """Limits waits for locks in this transaction: all readers and writers of a table queue behind its ALTER TABLE."""
    await db.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


async def select_dataset(db: Connection, name: str) -> tuple[Dataset, int] | None:
    """Returns the declaration and its revision."""
    row = await db.fetchrow("SELECT declaration, revision FROM datasets WHERE name = $1", name)
    return (msgspec.convert(row["declaration"], Dataset), row["revision"]) if row else None


async def upsert_dataset(db: Connection, dataset: Dataset, revision: int, statements: Sequence[str]) -> None:
    """Changes the table and stores its new declaration; search or rollups that are new begin with this version."""
    for statement in statements:
        await db.execute(statement, timeout=ALTER_SECONDS)
    await db.execute(
        """
        INSERT INTO datasets (name, declaration, revision) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE
        SET declaration = excluded.declaration, revision = excluded.revision, declared_at = now(),
            searched_since = CASE WHEN datasets.declaration->'search' IS NULL THEN datasets.version
                                  ELSE datasets.searched_since END,
            counted_since = CASE WHEN datasets.declaration->'rollups' IS NULL THEN datasets.version
                                 ELSE datasets.counted_since END
        """,
        dataset.name,
        msgspec.to_builtins(dataset),
        revision,
    )


async def select_filed_declarations(db: Connection) -> dict[str, Any]:
    """Returns the last declaration in the catalog folder of each dataset, None where there was none."""
    return {row["name"]: row["filed"] for row in await db.fetch("SELECT name, filed FROM datasets")}


async def update_filed_declaration(db: Connection, name: str, declaration: Any) -> None:
    """Stores the declaration in the catalog folder."""
    await db.execute("UPDATE datasets SET filed = $2 WHERE name = $1", name, declaration)


async def copy_rows(
    db: Connection, table: str, columns: Sequence[str], data: Sequence[bytes], *, schema: str | None
) -> None:
    """Copies pieces of binary rows."""
    await db.copy_to_table(
        table,
        source=_iterate(data),  # asyncpg reads a file in a thread, piece by piece
        schema_name=schema,
        columns=list(columns),
        format="binary",
        timeout=COPY_SECONDS,
    )


async def copy_new_rows(db: Connection, table: str, columns: Sequence[str], data: Sequence[bytes]) -> None:
    """Copies rows to a dataset's table. Raises DuplicateKey, after which the transaction can go on."""
    try:
        async with db.transaction():
            await copy_rows(db, table, columns, data, schema="data")
    except asyncpg.UniqueViolationError as error:
        raise DuplicateKey from error


async def _iterate(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def has_any_key(db: Connection, dataset: Dataset, keys: Mapping[str, Sequence[Any]]) -> bool:
    """Returns whether the table contains one of these keys."""
    types = ", ".join(
        f"${number}::{field_types.find(dataset.field(name).type).sql}[]" for number, name in enumerate(keys, 1)
    )
    names = ddl.quote(*keys)
    found: bool = await db.fetchval(
        f"SELECT EXISTS (SELECT FROM data.{ddl.quote(dataset.name)}"
        f" JOIN unnest({types}) AS k ({names}) USING ({names}))",
        *keys.values(),
    )
    return found


async def select_missing_references(db: Connection, references: str, values: pl.Series) -> pl.Series:
    """Returns the values that do not occur in `references`, a `dataset.field`."""
    dataset, _, field = references.partition(".")
    kind = await db.fetchval(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2",
        f"data.{ddl.quote(dataset)}",
        field,
    )
    if kind is None:
        return values
    rows = await db.fetch(
        f"SELECT n FROM unnest($1::{kind}[]) WITH ORDINALITY AS u (v, n) WHERE NOT EXISTS"
        f" (SELECT FROM data.{ddl.quote(dataset)} r WHERE r.{ddl.quote(field)} = v)",
        values.to_list(),
        timeout=COPY_SECONDS,
    )
    return values.gather([row["n"] - 1 for row in rows])
