"""What the ingestor remembers: declarations, the chunk ledger, failed rows. And the rows themselves."""

import io
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.ingestor import tables
from services.ingestor.parsing import FailedRow
from shared.catalog.dataset import Dataset
from shared.contracts.commands import LoadChunk, PlanImport
from shared.contracts.parts import Dialect, Outcome
from shared.db import Connection

COPY_SECONDS = 300.0
DECLARING = 0x64617461


class Chunk(msgspec.Struct, frozen=True):
    """A line of the ledger with what is needed to load it."""

    ledger: int
    file: str
    dialect: Dialect
    dataset: Dataset


class KeyTaken(Exception):
    """A row's key is in the table already, or twice in the chunk."""


async def lock_declarations(db: Connection) -> None:
    """One at a time declares datasets or makes partitions; ends with the transaction."""
    await db.execute("SELECT pg_advisory_xact_lock($1)", DECLARING)


async def select_dataset(db: Connection, name: str) -> tuple[Dataset, int] | None:
    """The declaration and its revision."""
    row = await db.fetchrow("SELECT declaration, revision FROM datasets WHERE name = $1", name)
    return (msgspec.convert(row["declaration"], Dataset), row["revision"]) if row else None


async def upsert_dataset(db: Connection, dataset: Dataset, revision: int, statements: Sequence[str]) -> None:
    """Changes the table and remembers the declaration that it follows now."""
    for statement in statements:
        await db.execute(statement)
    await db.execute(
        """
        INSERT INTO datasets (name, declaration, revision) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE
        SET declaration = excluded.declaration, revision = excluded.revision, declared_at = now()
        """,
        dataset.name,
        msgspec.to_builtins(dataset),
        revision,
    )


async def select_missing_years(db: Connection, dataset: Dataset, years: Sequence[int]) -> list[int]:
    """The years for which the dataset has no partition yet."""
    rows = await db.fetch(
        """
        SELECT year FROM unnest($1::int[], $2::text[]) AS wanted (year, name)
        WHERE NOT EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'data' AND c.relname = wanted.name AND c.relispartition
        ) ORDER BY year
        """,
        list(years),
        [tables.partition_name(dataset, year) for year in years],
    )
    return [row["year"] for row in rows]


async def create_partition(db: Connection, dataset: Dataset, year: int) -> None:
    """The caller holds `lock_declarations`."""
    for statement in tables.create_partition(dataset, year):
        await db.execute(statement)


async def insert_plan(db: Connection, command: PlanImport, loads: Sequence[LoadChunk]) -> None:
    """The import and a line of the ledger for each chunk, in the order of the file."""
    await db.execute(
        "INSERT INTO imports (job_id, dataset, file, dialect, chunks) VALUES ($1, $2, $3, $4, $5)",
        command.job_id,
        command.dataset,
        command.file,
        msgspec.to_builtins(command.dialect),
        len(loads),
    )
    await db.execute(
        """
        INSERT INTO chunks (job_id, dataset, chunk, message_id, start_byte, end_byte, line, overlong)
        SELECT $1, $2, *
        FROM unnest($3::int[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bool[])
        """,
        command.job_id,
        command.dataset,
        [load.chunk for load in loads],
        [load.id for load in loads],
        [load.start for load in loads],
        [load.end for load in loads],
        [load.line for load in loads],
        [load.overlong for load in loads],
    )


async def select_chunk(db: Connection, job_id: UUID, chunk: int) -> Chunk:
    """Raises LookupError for a chunk that was never planned."""
    row = await db.fetchrow(
        """
        SELECT c.ledger, i.file, i.dialect, d.declaration AS dataset
        FROM chunks c JOIN imports i USING (job_id) JOIN datasets d ON d.name = c.dataset
        WHERE c.job_id = $1 AND c.chunk = $2
        """,
        job_id,
        chunk,
    )
    if row is None:
        raise LookupError(f"chunk {chunk} of job {job_id} is not in the ledger")
    return msgspec.convert(dict(row), Chunk)


async def select_siblings(db: Connection, job_id: UUID) -> list[int]:
    """The ledger numbers of all chunks of a job."""
    rows = await db.fetch("SELECT ledger FROM chunks WHERE job_id = $1", job_id)
    return [row["ledger"] for row in rows]


async def select_earlier(db: Connection, job_id: UUID, chunk: int) -> tuple[int, int]:
    """How many earlier chunks of the file are not loaded yet, and how many of them never will be."""
    row = await db.fetchrow(
        """
        SELECT count(*) AS waiting, count(*) FILTER (WHERE EXISTS (SELECT FROM inbox i WHERE i.id = message_id)) AS lost
        FROM chunks WHERE job_id = $1 AND chunk < $2 AND loaded_at IS NULL
        """,
        job_id,
        chunk,
    )
    return (row["waiting"], row["lost"]) if row else (0, 0)


async def copy_rows(db: Connection, table: str, columns: Sequence[str], data: bytes, *, schema: str | None) -> None:
    """Raises KeyTaken, and leaves nothing behind then: the transaction goes on."""
    try:
        async with db.transaction():
            await db.copy_to_table(
                table,
                source=io.BytesIO(data),
                schema_name=schema,
                columns=list(columns),
                format="csv",
                timeout=COPY_SECONDS,
            )
    except asyncpg.UniqueViolationError as error:
        raise KeyTaken from error


async def merge_step(db: Connection, statement: str, *arguments: Any) -> tuple[int, int]:
    """Runs one of the steps of `merging`: the rows that it dealt with, and the duplicates among them apart."""
    row = await db.fetchrow(statement, *arguments, timeout=COPY_SECONDS)
    return (row[0], row[1]) if row else (0, 0)


async def insert_failed_rows(db: Connection, command: LoadChunk, rows: Sequence[FailedRow]) -> None:
    """Kept with their physical line and all their errors."""
    await db.copy_records_to_table(
        "failed_rows",
        columns=["job_id", "dataset", "chunk", "line", "raw", "errors"],
        records=[
            (command.job_id, command.dataset, command.chunk, row.line, row.raw, msgspec.to_builtins(row.errors))
            for row in rows
        ],
        timeout=COPY_SECONDS,
    )


async def update_loaded(db: Connection, ledger: int, dataset: str, outcome: Outcome) -> int:
    """Closes the ledger's line and returns the dataset's new version.

    The last statement before the commit: whoever changed a row later has a higher version, since this row is locked
    until then.
    """
    version: int = await db.fetchval(
        "UPDATE datasets SET version = version + 1 WHERE name = $1 RETURNING version", dataset
    )
    await db.execute(
        """
        UPDATE chunks SET loaded_at = clock_timestamp(), version = $2, rows_read = $3, inserted = $4, updated = $5,
               unchanged = $6, duplicates = $7, failed = $8
        WHERE ledger = $1 AND loaded_at IS NULL
        """,
        ledger,
        version,
        outcome.rows_read,
        outcome.inserted,
        outcome.updated,
        outcome.unchanged,
        outcome.duplicates,
        outcome.failed,
    )
    return version


async def claim_overdue(db: Connection, *, seconds: float, limit: int) -> list[LoadChunk]:
    """Chunks that nobody loads: none was finished for so long, and these were sent before that. Marks them as sent."""
    rows = await db.fetch(
        """
        UPDATE chunks SET sent_at = now()
        WHERE ledger IN (
            SELECT ledger FROM chunks c
            WHERE loaded_at IS NULL AND sent_at < now() - $1 * interval '1 second'
              AND NOT EXISTS (SELECT FROM inbox i WHERE i.id = c.message_id)
              AND NOT EXISTS (SELECT FROM chunks WHERE loaded_at > now() - $1 * interval '1 second')
              AND NOT EXISTS (SELECT FROM outbox o WHERE o.id = c.message_id)
            ORDER BY ledger LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING job_id, dataset, chunk, start_byte AS start, end_byte AS "end", line, overlong
        """,
        seconds,
        limit,
    )
    return [LoadChunk(**row) for row in rows]
