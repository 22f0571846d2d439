"""mode=replace: rows gather in a stage, and one transaction at the end makes the table equal to it."""

import asyncio
from typing import Any
from uuid import UUID

import polars as pl

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.ddl import quoted
from services.ingestor.write import partitions, queries, upsert_sql
from services.ingestor.write.binary_copy import CHUNK, ROW, to_copy
from shared.catalog.dataset import Dataset
from shared.contracts.commands import SwapStage
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection
from shared.telemetry import metrics

SWAP_SECONDS = 1800.0
ABANDONED = Problem(code="chunk_failed", detail="A part of the input could not be loaded, so nothing was replaced.")


async def create_stage(db: Connection, job_id: UUID, dataset: Dataset, columns: tuple[str, ...]) -> None:
    """A table of the job; it must survive a crash, as the ledger does that says what is in it."""
    source = f"SELECT 0::bigint AS {CHUNK}, 0::bigint AS {ROW}, {quoted(*columns)} FROM data.{quoted(dataset.name)}"
    await db.execute(f"CREATE TABLE {_name(job_id)} AS {source} WITH NO DATA")


async def drop_stage(db: Connection, job_id: UUID) -> None:
    """Nothing happens if there is none."""
    await db.execute(f"DROP TABLE IF EXISTS {_name(job_id)}")


async def drop_abandoned(db: Connection) -> None:
    """Stages of jobs that will never come to their swap, because one of their chunks was given up."""
    rows = await db.fetch(
        """
        SELECT DISTINCT c.job_id FROM chunks c JOIN imports i USING (job_id) JOIN inbox h ON h.id = c.message_id
        WHERE c.loaded_at IS NULL AND i.stopped IS NULL AND i.load_options->>'mode' = 'replace'
        """
    )
    for row in rows:
        await drop_stage(db, row["job_id"])
        await chunk_ledger.update_stopped(db, row["job_id"], ABANDONED)


async def stage(db: Connection, chunk: Chunk, rows: pl.DataFrame) -> None:
    """Adds a chunk's good rows."""
    staged = rows.with_row_index(ROW).with_columns(
        pl.col(ROW).cast(pl.Int64), pl.lit(chunk.ledger, pl.Int64).alias(CHUNK)
    )
    data = await asyncio.to_thread(to_copy, staged, chunk.dataset.fields)
    await queries.copy_rows(db, _name(chunk.job_id), staged.columns, data, schema=None)


async def select_swap(db: Connection, job_id: UUID) -> int:
    """The number of the job's last chunk, which is the swap."""
    chunk: int = await db.fetchval("SELECT chunks FROM imports WHERE job_id = $1", job_id)
    return chunk


async def swap_stage(command: SwapStage, db: Connection) -> list[ChunkLoaded | ImportStopped]:
    """Deletes what the stage lacks, updates what differs, inserts what is new. Readers see all of it at once.

    Raises NotReady while a year is being detached.
    """
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    if chunk.stopped is not None:
        return []
    dataset, columns = chunk.dataset, chunk.dialect.fields
    about: dict[str, Any] = {"dataset": dataset.name, "job_id": command.job_id}
    await partitions.keep_years(db, dataset)
    await _make_years(db, command.job_id, dataset)
    await db.execute(f"LOCK TABLE data.{quoted(dataset.name)} IN SHARE ROW EXCLUSIVE MODE")
    staged, stands, gone = await _survey(db, command.job_id, dataset)
    total, _, _ = await chunk_ledger.select_outcome(db, command.job_id)
    if gone > chunk.load_options.max_shrink * stands:
        problem = Problem(
            code="shrink_guard",
            detail=f"{gone} of {stands} rows would be gone; at most {chunk.load_options.max_shrink:.0%} may go.",
            hint="Nothing was replaced. If this is meant, import again with max_shrink=1.",
        )
        await chunk_ledger.update_stopped(db, command.job_id, problem)
        await drop_stage(db, command.job_id)
        return [ImportStopped(**about, problem=problem, outcome=total)]
    deleted = await _run(db, upsert_sql.delete_missing(dataset, "final"), chunk.ledger)
    updated = await _run(db, upsert_sql.update_all(dataset, columns, "final"), chunk.ledger)
    inserted = await _run(db, upsert_sql.insert_all(dataset, columns, "final"), chunk.ledger)
    await drop_stage(db, command.job_id)
    outcome = Outcome(
        inserted=inserted,
        updated=updated,
        unchanged=staged - inserted - updated,
        duplicates=total.checked - staged,
        checked=-total.checked,
        deleted=deleted,
    )
    version = await chunk_ledger.update_loaded(db, chunk, outcome)
    for word in ("inserted", "updated", "unchanged", "duplicates", "deleted"):
        metrics.ROWS.labels(dataset.name, word).inc(getattr(outcome, word))
    return [ChunkLoaded(**about, chunk=command.chunk, ledger=chunk.ledger, version=version, bytes=0, outcome=outcome)]


async def _make_years(db: Connection, job_id: UUID, dataset: Dataset) -> None:
    """Before the table is locked: who makes a partition waits for the table."""
    if dataset.partition_by is None:
        return
    rows = await db.fetch(
        f"SELECT DISTINCT extract(year FROM {quoted(dataset.partition_by.field)})::int AS year FROM {_name(job_id)}",
        timeout=SWAP_SECONDS,
    )
    await partitions.make_years(db, dataset, [row["year"] for row in rows])


async def _survey(db: Connection, job_id: UUID, dataset: Dataset) -> tuple[int, int, int]:
    """Makes the table `final`, with each key once; rows in it, rows that stand, rows that would go."""
    if dataset.keyed:
        keys = quoted(*dataset.primary_key)
        source = f"SELECT DISTINCT ON ({keys}) * FROM {_name(job_id)} ORDER BY {keys}, {CHUNK} DESC, {ROW} DESC"
    else:
        source = f"SELECT * FROM {_name(job_id)}"
    await db.execute(f"CREATE TEMP TABLE final ON COMMIT DROP AS {source}", timeout=SWAP_SECONDS)
    await db.execute("ANALYZE final")
    staged: int = await db.fetchval("SELECT count(*) FROM final")
    stands: int = await db.fetchval(f"SELECT count(*) FROM data.{quoted(dataset.name)}", timeout=SWAP_SECONDS)
    if not dataset.keyed:
        return staged, stands, max(0, stands - staged)
    kept: int = await db.fetchval(upsert_sql.count_met(dataset, "final"), timeout=SWAP_SECONDS)
    return staged, stands, stands - kept


async def _run(db: Connection, statement: str, ledger: int) -> int:
    count: int = await db.fetchval(statement, ledger, timeout=SWAP_SECONDS)
    return count


def _name(job_id: UUID) -> str:
    return f"replacing_{job_id.hex}"
