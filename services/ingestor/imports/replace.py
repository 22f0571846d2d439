"""SwapStage: chunks of `mode=replace` fill a stage, and one transaction at the end makes the table equal to it."""

import asyncio
from uuid import UUID

import polars as pl

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.ddl import quote
from services.ingestor.write import partitions, queries, upsert_sql
from services.ingestor.write.binary_copy import CHUNK, ROW, to_copy
from shared.catalog.dataset import Dataset
from shared.contracts.commands import SwapStage
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection
from shared.retention import OLD, Position, Step
from shared.telemetry import metrics

SWAP_SECONDS = 1800.0
STAGE = "replacing_"
ABANDONED = Problem(code="chunk_failed", detail="A chunk of the input could not be loaded, so nothing was replaced.")


async def create_stage(db: Connection, job_id: UUID, dataset: Dataset, columns: tuple[str, ...]) -> None:
    """Creates the job's stage: a logged table, because the ledger, which survives a crash, says what is in it."""
    source = f"SELECT 0::bigint AS {CHUNK}, 0::bigint AS {ROW}, {quote(*columns)} FROM data.{quote(dataset.name)}"
    await db.execute(f"CREATE TABLE {_stage_name(job_id)} AS {source} WITH NO DATA")


async def drop_stage(db: Connection, job_id: UUID) -> None:
    """Drops the job's stage if there is one."""
    await db.execute(f"DROP TABLE IF EXISTS {_stage_name(job_id)}")


async def delete_old_stages(db: Connection, days: int, _position: Position) -> Step:
    """Drops a stage that was planned so many days ago, and stops its job; also one whose job is not in the ledger."""
    row = await db.fetchrow(
        f"""
        SELECT t.job_id, i.job_id IS NOT NULL AND i.stopped IS NULL AS is_open
        FROM (
            SELECT substr(tablename, {len(STAGE) + 1})::uuid AS job_id FROM pg_tables
            WHERE schemaname = current_schema AND tablename ~ '^{STAGE}[0-9a-f]{{32}}$'
        ) t LEFT JOIN imports i USING (job_id)
        WHERE i.job_id IS NULL OR i.planned_at < {OLD} LIMIT 1
        """,
        days,
    )
    if row is None:
        return Step(0, None)
    await queries.limit_lock_waits(db)
    await drop_stage(db, row["job_id"])
    if row["is_open"]:
        await chunk_ledger.update_stopped(db, {row["job_id"]: ABANDONED})
    return Step(1, 0)


async def copy_to_stage(db: Connection, chunk: Chunk, rows: pl.DataFrame) -> None:
    """Adds a chunk's good rows, with a column CHUNK, to the stage."""
    staged = rows.with_row_index(ROW).cast({ROW: pl.Int64})
    data = await asyncio.to_thread(to_copy, staged, chunk.dataset.fields)
    await queries.copy_rows(db, _stage_name(chunk.job_id), staged.columns, data, schema=None)


async def select_swap_chunk(db: Connection, job_id: UUID) -> int:
    """Returns the number of the job's last chunk, which is the swap."""
    chunk: int = await db.fetchval("SELECT chunks FROM imports WHERE job_id = $1", job_id)
    return chunk


async def swap_stage(command: SwapStage, db: Connection) -> list[ChunkLoaded | ImportStopped]:
    """Deletes rows missing from the stage, updates those that differ, inserts new ones, all in one transaction.

    Raises NotReady while a year is being detached.
    """
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    if chunk.stopped is not None:
        return []
    dataset, columns = chunk.dataset, chunk.dialect.fields
    await partitions.share_all_years(db, dataset)
    await _create_partitions(db, command.job_id, dataset)
    await db.execute(f"LOCK TABLE data.{quote(dataset.name)} IN SHARE ROW EXCLUSIVE MODE")
    staged, existing, missing = await _deduplicate_stage(db, command.job_id, dataset)
    total, _, _ = await chunk_ledger.select_outcome(db, command.job_id)
    if missing > chunk.load_options.max_shrink * existing:
        problem = Problem(
            code="shrink_guard",
            detail=f"{missing} of {existing} rows would be deleted; the limit is {chunk.load_options.max_shrink:.0%}.",
            hint="Nothing was replaced. If this is intended, import again with max_shrink=1.",
        )
        await chunk_ledger.update_stopped(db, {command.job_id: problem})
        await drop_stage(db, command.job_id)
        return [ImportStopped(dataset=dataset.name, job_id=command.job_id, problem=problem, outcome=total)]
    deleted = await _execute(db, upsert_sql.delete_missing(dataset, "final"), chunk.ledger)
    updated = await _execute(db, upsert_sql.update_all(dataset, columns, "final"), chunk.ledger)
    inserted = await _execute(db, upsert_sql.insert_all(dataset, columns, "final"), chunk.ledger)
    await drop_stage(db, command.job_id)
    outcome = Outcome(
        inserted=inserted,
        updated=updated,
        unchanged=staged - inserted - updated,
        duplicates=total.checked - staged,
        checked=-total.checked,
        deleted=deleted,
    )
    event = await chunk_ledger.close_chunk(db, chunk, outcome)
    for counter in ("inserted", "updated", "unchanged", "duplicates", "deleted"):
        metrics.ROWS.labels(dataset.name, counter).inc(getattr(outcome, counter))
    return [event]


async def _create_partitions(db: Connection, job_id: UUID, dataset: Dataset) -> None:
    """Runs before the table is locked: creating a partition waits for that lock."""
    if dataset.partition_by is None:
        return
    year = f"extract(year FROM {quote(dataset.partition_by.field)})::int AS year"
    rows = await db.fetch(
        f"SELECT DISTINCT {year} FROM {_stage_name(job_id)}",
        timeout=SWAP_SECONDS,
    )
    await partitions.create_years(db, dataset, [row["year"] for row in rows])


async def _deduplicate_stage(db: Connection, job_id: UUID, dataset: Dataset) -> tuple[int, int, int]:
    """Fills the temporary table `final` with each key once; counts its rows, existing rows and those to delete."""
    if dataset.keyed:
        keys = quote(*dataset.primary_key)
        source = f"SELECT DISTINCT ON ({keys}) * FROM {_stage_name(job_id)} ORDER BY {keys}, {CHUNK} DESC, {ROW} DESC"
    else:
        source = f"SELECT * FROM {_stage_name(job_id)}"
    await db.execute(f"CREATE TEMP TABLE final ON COMMIT DROP AS {source}", timeout=SWAP_SECONDS)
    await db.execute("ANALYZE final")
    staged: int = await db.fetchval("SELECT count(*) FROM final")
    existing: int = await db.fetchval(f"SELECT count(*) FROM data.{quote(dataset.name)}", timeout=SWAP_SECONDS)
    if not dataset.keyed:
        return staged, existing, max(0, existing - staged)
    common: int = await db.fetchval(upsert_sql.count_common(dataset, "final"), timeout=SWAP_SECONDS)
    return staged, existing, existing - common


async def _execute(db: Connection, statement: str, ledger: int) -> int:
    count: int = await db.fetchval(statement, ledger, timeout=SWAP_SECONDS)
    return count


def _stage_name(job_id: UUID) -> str:
    return f"{STAGE}{job_id.hex}"
