"""LoadChunk and LoadRows: parses chunks, writes their good rows, keeps failed rows and closes their ledger lines."""

import asyncio
from collections.abc import Sequence

from services.ingestor import chunk_ledger, new_chunks
from services.ingestor.imports import close, failed_rows, store
from services.ingestor.imports.chunk_rows import ChunkInput
from services.ingestor.imports.close import JobStopped, LoadResult
from services.ingestor.new_chunks import NewChunk
from services.ingestor.parse.csv_scanner import LARGEST_RECORD
from shared.bus.failures import PermanentFailure
from shared.contracts.commands import LoadChunk, LoadRows
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection
from shared.db.faults import MISSING_TABLE
from shared.spool import Spool

OVERLONG_BYTES = LARGEST_RECORD + 2
"""Bytes of an overlong line that suffice to refuse it."""


async def load_chunk(command: LoadChunk, db: Connection, spool: Spool) -> LoadResult:
    """Loads a chunk of a file, or the failed rows that a replay has claimed as this chunk."""
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    size = command.end - command.start
    if chunk.replay_of is not None:
        rows = await failed_rows.select_raw_rows(db, command.job_id, command.chunk)
        data = "".join(f"{raw}\r\n" for _, raw in rows).encode()  # a bare newline would swallow a CR at a row's end
        return await load(db, ChunkInput(chunk, data, size, lines=[line for line, _ in rows]))
    try:
        end = min(command.end, command.start + OVERLONG_BYTES) if command.overlong else command.end
        data = await asyncio.to_thread(spool.read, chunk.file or "", command.start, end)
    except (FileNotFoundError, EOFError) as error:
        raise PermanentFailure(file_missing()) from error
    return await load(db, ChunkInput(chunk, data, size, command.line))


async def load_rows(commands: Sequence[LoadRows], db: Connection) -> LoadResult:
    """Loads batches, each the only chunk of its job, like one after the other; the number of a row is its line.

    Leaves out the batches of stopped jobs. Raises like `load`.
    """
    chunks = await new_chunks.insert_chunks(
        db,
        [
            NewChunk(
                command=command,
                job_id=command.job_id,
                chunk=1,
                size=command.bytes,
                dialect=Dialect(columns=command.columns, header=False, format="ndjson"),
                load_options=command.load_options,
            )
            for command in commands
        ],
    )
    inputs = [
        ChunkInput(chunk, b"\n".join(command.rows), command.bytes)
        for chunk, command in zip(chunks, commands, strict=True)
        if chunk.stopped is None
    ]
    return await close.close(db, await store.store(db, inputs))


async def load(db: Connection, item: ChunkInput) -> LoadResult:
    """Loads a chunk of a job in the caller's transaction. Changes and returns nothing if the job was stopped.

    Raises PermanentFailure, and NotReady like `write.write`.
    """
    chunk = item.chunk
    if chunk.stopped is not None:
        return []
    try:
        async with db.transaction():
            return await close.close(db, await store.store(db, [item]))
    except JobStopped:
        return []
    except MISSING_TABLE:
        # Stopping a job drops its stage, perhaps while this chunk waits to write to it.
        if (await chunk_ledger.select_chunk(db, chunk.job_id, chunk.chunk)).stopped is None:
            raise
        return []


def file_missing() -> Problem:
    """Returns the problem of a file that is no longer in the spool."""
    return Problem(
        code="file_missing",
        detail="The uploaded file is no longer in the spool.",
        hint="Import the file again; if it happens again, check that all services share one SPOOL_URL.",
    )
