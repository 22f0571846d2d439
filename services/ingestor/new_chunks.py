"""Queries that enter chunks in the ledger: planned ones, and those whose rows came with their command."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from services.ingestor.chunk_ledger import Chunk
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DetachPartition, LoadChunk, PlanDetach, PlanImport, PlanReplay, SwapStage
from shared.contracts.message import Command
from shared.contracts.parts import Dialect, LoadOptions, Problem
from shared.db import Connection

PlannedCommand = LoadChunk | SwapStage | DetachPartition


class NewChunk(msgspec.Struct, frozen=True, kw_only=True):
    """An unplanned chunk of `size` bytes, whose rows came with the command."""

    command: Command
    job_id: UUID
    chunk: int
    size: int
    dialect: Dialect
    load_options: LoadOptions
    source: str | None = None


async def insert_plan(
    db: Connection,
    command: PlanImport | PlanReplay | PlanDetach,
    dialect: Dialect,
    planned: Sequence[PlannedCommand],
    *,
    bytes_total: int,
) -> None:
    """Inserts an import and a ledger line for each chunk, in the order of the input; the swap of a stage comes last."""
    await db.execute(
        "INSERT INTO imports (job_id, dataset, file, replay_of, year, dialect, load_options, chunks)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        command.job_id,
        command.dataset,
        command.file if isinstance(command, PlanImport) else None,
        command.replay_of if isinstance(command, PlanReplay) else None,
        command.year if isinstance(command, PlanDetach) else None,
        msgspec.to_builtins(dialect),
        msgspec.to_builtins(LoadOptions() if isinstance(command, PlanDetach) else command.load_options),
        len(planned),
    )
    await db.execute(
        """
        INSERT INTO chunks (job_id, dataset, chunk, message_id, start_byte, end_byte, line, overlong)
        SELECT $1, $2, *
        FROM unnest($3::int[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bool[])
        """,
        command.job_id,
        command.dataset,
        [item.chunk for item in planned],
        [item.id for item in planned],
        [item.start if isinstance(item, LoadChunk) else bytes_total for item in planned],
        [item.end if isinstance(item, LoadChunk) else bytes_total for item in planned],
        [item.line if isinstance(item, LoadChunk) else 0 for item in planned],
        [isinstance(item, LoadChunk) and item.overlong for item in planned],
    )


async def insert_chunks(db: Connection, new: Sequence[NewChunk]) -> list[Chunk]:
    """Inserts the chunks, and their imports if they are the first of their jobs. Ledger numbers are in their order."""
    rows = await db.fetch(
        """
        WITH new AS (
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::bigint[], $6::jsonb[], $7::jsonb[],
                                 $8::text[]) WITH ORDINALITY
                AS n (job_id, dataset, chunk, message_id, size, dialect, load_options, source, place)
        ), import AS (
            INSERT INTO imports (job_id, dataset, dialect, load_options, source, chunks)
            SELECT job_id, dataset, dialect, load_options, source, CASE WHEN source IS NULL THEN 1 END FROM new
            ON CONFLICT (job_id) DO NOTHING
        ), line AS (
            INSERT INTO chunks (job_id, dataset, chunk, message_id, start_byte, end_byte, line, overlong)
            SELECT job_id, dataset, chunk, message_id, 0, size, 1, false FROM new ORDER BY place
            RETURNING ledger, job_id, chunk
        )
        SELECT line.ledger, now() AS now, d.name AS dataset,
               (SELECT stopped FROM imports i WHERE i.job_id = line.job_id),
               CASE WHEN row_number() OVER (PARTITION BY d.name) = 1 THEN d.declaration END AS declaration
        FROM line JOIN new USING (job_id, chunk) JOIN datasets d ON d.name = new.dataset
        ORDER BY place
        """,
        [item.job_id for item in new],
        [item.command.dataset for item in new],
        [item.chunk for item in new],
        [item.command.id for item in new],
        [item.size for item in new],
        [msgspec.to_builtins(item.dialect) for item in new],
        [msgspec.to_builtins(item.load_options) for item in new],
        [item.source for item in new],
    )
    datasets = {row["dataset"]: msgspec.convert(row["declaration"], Dataset) for row in rows if row["declaration"]}
    return [
        Chunk(
            ledger=row["ledger"],
            job_id=item.job_id,
            chunk=item.chunk,
            chunks=1 if item.source is None else None,
            dataset=datasets[row["dataset"]],
            dialect=item.dialect,
            load_options=item.load_options,
            now=row["now"],
            stopped=msgspec.convert(row["stopped"], Problem | None),
        )
        for item, row in zip(new, rows, strict=True)
    ]
