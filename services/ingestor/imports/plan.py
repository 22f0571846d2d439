"""PlanImport: splits a file into chunks at record ends."""

import asyncio
from typing import BinaryIO

from services.ingestor import new_chunks
from services.ingestor.imports import load, replace
from services.ingestor.parse.splitter import ChunkRange, MalformedJson, split
from services.ingestor.settings import IngestorSettings
from services.ingestor.write import queries
from shared.contracts.commands import LoadChunk, PlanImport, SwapStage
from shared.contracts.events import ImportPlanned, ImportRejected
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection
from shared.spool import Spool


async def plan_import(
    command: PlanImport, db: Connection, spool: Spool, settings: IngestorSettings
) -> list[LoadChunk | SwapStage | ImportPlanned] | ImportRejected:
    """Enters the chunks of the file in the ledger and returns a command to load each; a replace gets its stage."""
    try:
        with spool.open(command.file) as file:
            ranges = await asyncio.to_thread(_split, file, command.dialect, settings.chunk_bytes)
    except FileNotFoundError:
        return ImportRejected(dataset=command.dataset, job_id=command.job_id, problem=load.file_missing())
    except MalformedJson as error:
        return ImportRejected(dataset=command.dataset, job_id=command.job_id, problem=_not_json(error))
    loads = [
        LoadChunk(
            dataset=command.dataset,
            job_id=command.job_id,
            chunk=number,
            start=chunk_range.start,
            end=chunk_range.end,
            line=chunk_range.line,
            overlong=chunk_range.end - chunk_range.start > max(settings.chunk_bytes, load.OVERLONG_BYTES),
        )
        for number, chunk_range in enumerate(ranges, 1)
    ]
    planned: list[LoadChunk | SwapStage] = [*loads]
    if command.load_options.mode == "replace" and not command.load_options.validate_only:
        dataset = await queries.select_dataset(db, command.dataset)
        if dataset is None:
            raise LookupError(command.dataset)
        await replace.create_stage(db, command.job_id, dataset[0], command.dialect.fields)
        planned.append(SwapStage(dataset=command.dataset, job_id=command.job_id, chunk=len(loads) + 1))
    await new_chunks.insert_plan(db, command, command.dialect, planned, bytes_total=command.bytes_total)
    event = ImportPlanned(
        dataset=command.dataset,
        job_id=command.job_id,
        chunks=len(planned),
        bytes=sum(chunk.end - chunk.start for chunk in loads),
    )
    # Without rows to load, the swap can run at once.
    return [*(loads or planned), event]


def _split(file: BinaryIO, dialect: Dialect, size: int) -> list[ChunkRange]:
    return list(split(file, dialect, size=size))


def _not_json(error: MalformedJson) -> Problem:
    return Problem(
        code="not_json",
        detail=f"The file is not a well-formed JSON array: {error}. No row was loaded.",
        hint="Write one object a line (NDJSON) if single broken rows must not stop the others.",
    )
