"""From the bytes of a chunk to rows, failed rows and a closed line of the ledger, wherever the chunk came from."""

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
from services.ingestor.parse.parser import Batch, Miscounted
from services.ingestor.write import queries, write
from shared.bus.failures import PermanentFailure
from shared.contracts.commands import LoadChunk, LoadRows, SwapStage
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import Dialect, Outcome, Problem
from shared.db import Connection
from shared.db.faults import MISSING_TABLE
from shared.spool import Spool
from shared.telemetry import metrics

Loaded = list[ChunkLoaded | SwapStage | ImportStopped]
FATES = Outcome.__struct_fields__[1:]
OVERLONG_BYTES = LARGEST_RECORD + 2
"""Enough of an overlong line to see that it is one."""
RATED_ROWS = 1000
"""So many rows must have been read before the share of failed ones means anything."""


class Stopped(Exception):
    """The job has been stopped meanwhile: whatever was done for the chunk is taken back."""


async def load_chunk(command: LoadChunk, db: Connection, spool: Spool) -> Loaded:
    """Loads the good rows, keeps the bad ones, and closes the chunk's line in the ledger, all in one transaction."""
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    size = command.end - command.start
    if chunk.replay_of is not None:
        kept = await failed_rows.read_raw(db, command.job_id, command.chunk)
        data = "".join(f"{raw}\r\n" for _, raw in kept).encode()  # a bare newline would take a cell's CR with it
        return await load(db, chunk, data, line=1, size=size, lines=[line for line, _ in kept])
    try:
        end = min(command.end, command.start + OVERLONG_BYTES) if command.overlong else command.end
        data = await asyncio.to_thread(spool.read, chunk.file or "", command.start, end)
    except (FileNotFoundError, EOFError) as error:
        raise PermanentFailure(file_missing()) from error
    return await load(db, chunk, data, line=command.line, size=size)


async def load_rows(command: LoadRows, db: Connection) -> Loaded:
    """A batch is a chunk of its own; the number of a row is its line."""
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


async def load(db: Connection, chunk: Chunk, data: bytes, *, line: int, size: int, lines: Sequence[int] = ()) -> Loaded:
    """Loads a chunk of `size` bytes, whose data begins on physical line `line`, or whose rows stood on `lines`.

    All in the caller's transaction. Nothing is left of it, and nothing said, if the job was stopped meanwhile.
    Raises PermanentFailure, and NotReady as `writing.write` does.
    """
    if chunk.stopped is not None:
        return []
    try:
        async with db.transaction():
            batch = await _judge(db, chunk, data, line, lines)
            written, batch = await _write(db, chunk, batch)
            if batch.failed:
                await queries.insert_failed_rows(db, chunk, batch)
            outcome = msgspec.structs.replace(written, rows_read=batch.rows_read, failed=len(batch.failed))
            return await _close(db, chunk, outcome, batch, size)
    except Stopped:
        return []
    except MISSING_TABLE:
        # Who stops a job drops its stage, perhaps while this chunk waits to write to it.
        if (await chunk_ledger.select_chunk(db, chunk.job_id, chunk.chunk)).stopped is None:
            raise
        return []


async def _judge(db: Connection, chunk: Chunk, data: bytes, line: int, lines: Sequence[int]) -> Batch:
    dataset = chunk.dataset
    now = await db.fetchval("SELECT now()")
    try:
        reading = await asyncio.to_thread(parser.read, data, dataset, chunk.dialect, line=line)
        unknown: dict[str, pl.Series] = {}
        if chunk.load_options.check_references:
            for field in (dataset.field(name) for name in chunk.dialect.fields):
                if field.references:
                    unknown[field.name] = await queries.select_unknown(db, field.references, reading.values(field.name))
        batch = await asyncio.to_thread(parser.judge, reading, now=now, unknown=unknown)
    except BadConstraint as error:
        raise PermanentFailure(Problem(code="bad_declaration", detail=f"Dataset {dataset.name}: {error}")) from error
    return _relined(batch, lines) if lines else batch


def _relined(batch: Batch, lines: Sequence[int]) -> Batch:
    """With the lines on which the rows stood once, in an input that is gone."""
    here = (batch.records.lines + 1).tolist()
    if len(here) != len(lines):
        raise Miscounted(f"{len(lines)} rows, {len(here)} records")
    there = dict(zip(here, lines, strict=True))
    failed = [msgspec.structs.replace(row, line=there[row.line]) for row in batch.failed]
    return batch._replace(lines=np.array([there[line] for line in batch.lines.tolist()], np.int64), failed=failed)


async def _write(db: Connection, chunk: Chunk, batch: Batch) -> tuple[Outcome, Batch]:
    load_options = chunk.load_options
    if load_options.validate_only or (load_options.strict and batch.failed):
        return Outcome(checked=batch.rows.height), batch
    if load_options.mode == "replace":
        await replace.stage(db, chunk, batch.rows)
        return Outcome(checked=batch.rows.height), batch
    written, left = await write.write(db, chunk, batch)
    return written, left


async def _close(db: Connection, chunk: Chunk, outcome: Outcome, batch: Batch, size: int) -> Loaded:
    version = await chunk_ledger.update_loaded(db, chunk, outcome)
    total, waiting, stopped = await chunk_ledger.select_outcome(db, chunk.job_id)
    if stopped is not None:
        raise Stopped
    _tell(chunk.dataset.name, outcome, batch)
    about: dict[str, Any] = {"dataset": chunk.dataset.name, "job_id": chunk.job_id}
    loaded: Loaded = [
        ChunkLoaded(**about, chunk=chunk.chunk, ledger=chunk.ledger, version=version, bytes=size, outcome=outcome)
    ]
    if problem := _exceeded(chunk, total):
        await chunk_ledger.update_stopped(db, chunk.job_id, problem)
        await replace.drop_stage(db, chunk.job_id)
        loaded.append(ImportStopped(**about, problem=problem, outcome=total))
    elif chunk.load_options.mode == "replace" and not chunk.load_options.validate_only and not waiting:
        loaded.append(SwapStage(**about, chunk=await replace.select_swap(db, chunk.job_id)))
    return loaded


def _exceeded(chunk: Chunk, total: Outcome) -> Problem | None:
    """Why the job must not go on."""
    load_options = chunk.load_options
    if load_options.strict and total.failed:
        detail = f"{total.failed} of {total.rows_read} rows can't be loaded, so none was."
        return Problem(code="rows_refused", detail=detail, hint="Mend them, or send handling=lenient.")
    hint = "What was loaded stays. The failed rows say why; allow more errors, or mend the input and send it again."
    if load_options.mode == "replace":
        hint = "Nothing was replaced. The failed rows say why; mend the input, or allow errors with max_errors."
    if load_options.max_errors is not None and total.failed > load_options.max_errors:
        detail = f"{total.failed} of {total.rows_read} rows failed; {load_options.max_errors} are allowed."
        return Problem(code="too_many_errors", detail=detail, hint=hint)
    rate = load_options.max_error_rate
    if rate is not None and total.rows_read >= RATED_ROWS and total.failed > rate * total.rows_read:
        detail = f"{total.failed} of {total.rows_read} rows failed; a share of {rate} is allowed."
        return Problem(code="too_many_errors", detail=detail, hint=hint)
    return None


def show_zeros(dataset: str) -> None:
    """So that the first rows are an increase for those who watch, and not the beginning of a series."""
    for word in FATES:
        metrics.ROWS.labels(dataset, word)


def _tell(dataset: str, outcome: Outcome, batch: Batch) -> None:
    for word in FATES:
        metrics.ROWS.labels(dataset, word).inc(getattr(outcome, word))
    for (code, _), rows in parser.counts(batch).items():
        metrics.FAILED_ROWS.labels(dataset, code).inc(rows)


def file_missing() -> Problem:
    """Returns the problem of a file that is no longer in the spool."""
    return Problem(
        code="file_missing",
        detail="The uploaded file is no longer in the spool.",
        hint="Import the file again; if it happens again, check that all services share one SPOOL_URL.",
    )
