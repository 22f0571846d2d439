"""What the ingestor decides: how a file is cut, what becomes of each row, what is sent again."""

import asyncio
from typing import BinaryIO

from services.ingestor import chunks, failures, loading, queries, replacing, syncs
from services.ingestor.cutting import Cut, cut
from services.ingestor.records import LARGEST_RECORD
from services.ingestor.settings import IngestorSettings
from shared.bus.failures import Permanent
from shared.contracts.commands import LoadChunk, LoadRows, PlanImport, SwapStage
from shared.contracts.events import ChunkLoaded, ImportPlanned, ImportRejected, ImportStopped
from shared.contracts.message import Message
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection
from shared.spool import Spool

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100
OVERLONG_BYTES = LARGEST_RECORD + 2
"""Enough of an overlong line to see that it is one."""


async def plan_import(
    command: PlanImport, db: Connection, spool: Spool, told: IngestorSettings
) -> list[LoadChunk | SwapStage | ImportPlanned] | ImportRejected:
    """Cuts the file at record ends; each chunk is then loaded by whoever is free."""
    try:
        with spool.open(command.file) as file:
            cuts = await asyncio.to_thread(_cuts, file, command.dialect, told.chunk_bytes)
    except FileNotFoundError:
        return ImportRejected(dataset=command.dataset, job_id=command.job_id, problem=_file_is_gone())
    loads = [
        LoadChunk(
            dataset=command.dataset,
            job_id=command.job_id,
            chunk=number,
            start=piece.start,
            end=piece.end,
            line=piece.line,
            overlong=piece.end - piece.start > max(told.chunk_bytes, OVERLONG_BYTES),
        )
        for number, piece in enumerate(cuts, 1)
    ]
    planned: list[LoadChunk | SwapStage] = [*loads]
    if command.terms.mode == "replace" and not command.terms.validate_only:
        dataset = await queries.select_dataset(db, command.dataset)
        if dataset is None:
            raise LookupError(command.dataset)
        await replacing.create_stage(db, command.job_id, dataset[0], command.dialect.fields)
        planned.append(SwapStage(dataset=command.dataset, job_id=command.job_id, chunk=len(loads) + 1))
    await chunks.insert_plan(db, command, command.dialect, planned, bytes_total=command.bytes_total)
    told_all = ImportPlanned(
        dataset=command.dataset,
        job_id=command.job_id,
        chunks=len(planned),
        bytes=sum(load.end - load.start for load in loads),
    )
    # Of a file without rows there is nothing to wait for: the swap comes at once.
    return [*(loads or planned), told_all]


async def load_chunk(command: LoadChunk, db: Connection, spool: Spool) -> list[ChunkLoaded | SwapStage | ImportStopped]:
    """Loads the good rows, keeps the bad ones, and closes the chunk's line in the ledger, all in one transaction."""
    chunk = await chunks.select_chunk(db, command.job_id, command.chunk)
    size = command.end - command.start
    if chunk.replay_of is not None:
        kept = await failures.read_raw(db, command.job_id, command.chunk)
        data = "".join(f"{raw}\r\n" for _, raw in kept).encode()  # a bare newline would take a cell's CR with it
        return await loading.load(db, chunk, data, line=1, size=size, lines=[line for line, _ in kept])
    try:
        end = min(command.end, command.start + OVERLONG_BYTES) if command.overlong else command.end
        data = await asyncio.to_thread(spool.read, chunk.file or "", command.start, end)
    except (FileNotFoundError, EOFError) as error:
        raise Permanent(_file_is_gone()) from error
    return await loading.load(db, chunk, data, line=command.line, size=size)


async def load_rows(command: LoadRows, db: Connection) -> list[ChunkLoaded | SwapStage | ImportStopped]:
    """A batch is a chunk of its own; the number of a row is its line."""
    data = b"\n".join(bytes(row) for row in command.rows)
    size = len(data) - (len(command.rows) - 1)
    chunk = await chunks.insert_chunk(
        db,
        command,
        job_id=command.job_id,
        chunk=1,
        size=size,
        dialect=Dialect(columns=command.columns, header=False, format="ndjson"),
        terms=command.terms,
    )
    return await loading.load(db, chunk, data, line=1, size=size)


async def resend_overdue(db: Connection) -> list[tuple[str, Message]]:
    """Chunks and pages whose message is lost: the ledger is the truth, the message was only a hint."""
    await replacing.drop_abandoned(db)
    loads = await chunks.claim_overdue(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    pulls = await syncs.claim_overdue_pulls(db, limit=RESENT_AT_ONCE)
    return [("", message) for message in (*loads, *pulls)]


def _cuts(file: BinaryIO, dialect: Dialect, size: int) -> list[Cut]:
    return list(cut(file, dialect, size=size))


def _file_is_gone() -> Problem:
    return Problem(
        code="file_missing",
        detail="The uploaded file is no longer in the spool.",
        hint="Import the file again; if it happens again, check that all services share one SPOOL_URL.",
    )
