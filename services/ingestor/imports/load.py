"""LoadChunk and LoadRows: parses a chunk, writes its good rows, keeps its failed rows and closes its ledger line."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.imports import failed_rows, replace
from services.ingestor.parse import parser
from services.ingestor.parse.constraints import BadConstraint
from services.ingestor.parse.csv_scanner import LARGEST_RECORD
from services.ingestor.parse.parser import Batch
from services.ingestor.parse.row_errors import RowCountMismatch
from services.ingestor.write import queries, write
from shared.bus.failures import PermanentFailure
from shared.contracts.commands import LoadChunk, LoadRows, SwapStage
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import Dialect, Outcome, Problem
from shared.db import Connection
from shared.db.faults import MISSING_TABLE
from shared.spool import Spool
from shared.telemetry import metrics

LoadResult = list[ChunkLoaded | SwapStage | ImportStopped]
ROW_COUNTERS = Outcome.__struct_fields__[1:]
OVERLONG_BYTES = LARGEST_RECORD + 2
"""Bytes of an overlong line that suffice to refuse it."""
LEAST_ROWS_OF_RATE = 1000
"""Rows to read before `max_error_rate` applies."""


class JobStopped(Exception):
    """The job was stopped in the meantime, so the work on the chunk is rolled back."""


async def load_chunk(command: LoadChunk, db: Connection, spool: Spool) -> LoadResult:
    """Loads a chunk of a file, or the failed rows that a replay has claimed as this chunk."""
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    size = command.end - command.start
    if chunk.replay_of is not None:
        rows = await failed_rows.select_raw_rows(db, command.job_id, command.chunk)
        data = "".join(f"{raw}\r\n" for _, raw in rows).encode()  # a bare newline would swallow a CR at a row's end
        return await load(db, chunk, data, line=1, size=size, lines=[line for line, _ in rows])
    try:
        end = min(command.end, command.start + OVERLONG_BYTES) if command.overlong else command.end
        data = await asyncio.to_thread(spool.read, chunk.file or "", command.start, end)
    except (FileNotFoundError, EOFError) as error:
        raise PermanentFailure(file_missing()) from error
    return await load(db, chunk, data, line=command.line, size=size)


async def load_rows(command: LoadRows, db: Connection) -> LoadResult:
    """Loads a batch, which is the only chunk of its job; the number of a row is its line."""
    data = b"\n".join(bytes(row) for row in command.rows)
    size = len(data) - (len(command.rows) - 1)
    chunk = await chunk_ledger.insert_chunk(
        db,
        command,
        job_id=command.job_id,
        chunk=1,
        size=size,
        dialect=Dialect(columns=command.columns, header=False, format="ndjson"),
        load_options=command.load_options,
    )
    return await load(db, chunk, data, line=1, size=size)


async def load(
    db: Connection, chunk: Chunk, data: bytes, *, line: int, size: int, lines: Sequence[int] = ()
) -> LoadResult:
    """Loads a chunk of `size` bytes, whose data begins on physical line `line`, or whose rows come from `lines`.

    Works in the caller's transaction. Changes and returns nothing if the job was stopped.
    Raises PermanentFailure, and NotReady like `write.write`.
    """
    if chunk.stopped is not None:
        return []
    try:
        async with db.transaction():
            batch = await _parse(db, chunk, data, line, lines)
            written, batch = await _write(db, chunk, batch)
            if batch.failed:
                await queries.insert_failed_rows(db, chunk, batch)
            outcome = msgspec.structs.replace(written, rows_read=batch.rows_read, failed=len(batch.failed))
            return await _close_chunk(db, chunk, outcome, batch, size)
    except JobStopped:
        return []
    except MISSING_TABLE:
        # Stopping a job drops its stage, perhaps while this chunk waits to write to it.
        if (await chunk_ledger.select_chunk(db, chunk.job_id, chunk.chunk)).stopped is None:
            raise
        return []


async def _parse(db: Connection, chunk: Chunk, data: bytes, line: int, lines: Sequence[int]) -> Batch:
    dataset = chunk.dataset
    now = await db.fetchval("SELECT now()")
    try:
        parsed = await asyncio.to_thread(parser.parse, data, dataset, chunk.dialect, line=line)
        unknown: dict[str, pl.Series] = {}
        if chunk.load_options.check_references:
            for field in (dataset.field(name) for name in chunk.dialect.fields):
                if field.references:
                    unknown[field.name] = await queries.select_missing_references(
                        db, field.references, parsed.values(field.name)
                    )
        batch = await asyncio.to_thread(parser.build_batch, parsed, now=now, unknown=unknown)
    except BadConstraint as error:
        raise PermanentFailure(Problem(code="bad_declaration", detail=f"Dataset {dataset.name}: {error}")) from error
    return _restore_lines(batch, lines) if lines else batch


def _restore_lines(batch: Batch, lines: Sequence[int]) -> Batch:
    """Returns the batch with the lines of the rows in their original input."""
    current = (batch.records.lines + 1).tolist()
    if len(current) != len(lines):
        raise RowCountMismatch(f"{len(lines)} rows, {len(current)} records")
    original = dict(zip(current, lines, strict=True))
    failed = [msgspec.structs.replace(row, line=original[row.line]) for row in batch.failed]
    return batch._replace(lines=np.array([original[line] for line in batch.lines.tolist()], np.int64), failed=failed)


async def _write(db: Connection, chunk: Chunk, batch: Batch) -> tuple[Outcome, Batch]:
    load_options = chunk.load_options
    if load_options.validate_only or (load_options.strict and batch.failed):
        return Outcome(checked=batch.rows.height), batch
    if load_options.mode == "replace":
        await replace.copy_to_stage(db, chunk, batch.rows)
        return Outcome(checked=batch.rows.height), batch
    return await write.write(db, chunk, batch)


async def _close_chunk(db: Connection, chunk: Chunk, outcome: Outcome, batch: Batch, size: int) -> LoadResult:
    loaded: LoadResult = [await chunk_ledger.close_chunk(db, chunk, outcome, size=size)]
    total, waiting, stopped = await chunk_ledger.select_outcome(db, chunk.job_id)
    if stopped is not None:
        raise JobStopped
    _count_metrics(chunk.dataset.name, outcome, batch)
    job: dict[str, Any] = {"dataset": chunk.dataset.name, "job_id": chunk.job_id}
    if problem := _exceeded_limit(chunk, total):
        await chunk_ledger.update_stopped(db, chunk.job_id, problem)
        await replace.drop_stage(db, chunk.job_id)
        loaded.append(ImportStopped(**job, problem=problem, outcome=total))
    elif chunk.load_options.mode == "replace" and not chunk.load_options.validate_only and not waiting:
        loaded.append(SwapStage(**job, chunk=await replace.select_swap_chunk(db, chunk.job_id)))
    return loaded


def _exceeded_limit(chunk: Chunk, total: Outcome) -> Problem | None:
    """Returns the problem that stops the job, if it is strict or has too many failed rows."""
    load_options = chunk.load_options
    if load_options.strict and total.failed:
        detail = f"{total.failed} of {total.rows_read} rows can't be loaded, so no row was loaded."
        return Problem(code="rows_refused", detail=detail, hint="Fix them, or send handling=lenient.")
    hint = "Rows loaded so far stay. See the failed rows; allow more errors, or fix the input and send it again."
    if load_options.mode == "replace":
        hint = "Nothing was replaced. See the failed rows; fix the input, or allow errors with max_errors."
    if load_options.max_errors is not None and total.failed > load_options.max_errors:
        detail = f"{total.failed} of {total.rows_read} rows failed; {load_options.max_errors} are allowed."
        return Problem(code="too_many_errors", detail=detail, hint=hint)
    rate = load_options.max_error_rate
    if rate is not None and total.rows_read >= LEAST_ROWS_OF_RATE and total.failed > rate * total.rows_read:
        detail = f"{total.failed} of {total.rows_read} rows failed; a rate of {rate} is allowed."
        return Problem(code="too_many_errors", detail=detail, hint=hint)
    return None


def init_metrics(dataset: str) -> None:
    """Sets the row counters of a dataset to 0, so that its first rows show up as an increase."""
    for counter in ROW_COUNTERS:
        metrics.ROWS.labels(dataset, counter)


def _count_metrics(dataset: str, outcome: Outcome, batch: Batch) -> None:
    for counter in ROW_COUNTERS:
        metrics.ROWS.labels(dataset, counter).inc(getattr(outcome, counter))
    for (code, _), rows in parser.count_errors(batch).items():
        metrics.FAILED_ROWS.labels(dataset, code).inc(rows)


def file_missing() -> Problem:
    """Returns the problem of a file that is no longer in the spool."""
    return Problem(
        code="file_missing",
        detail="The uploaded file is no longer in the spool.",
        hint="Import the file again; if it happens again, check that all services share one SPOOL_URL.",
    )
