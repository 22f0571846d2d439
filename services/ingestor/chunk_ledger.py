"""Queries about the chunk ledger: which chunks to load, and the counts of those that are loaded."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from services.ingestor import readers
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DetachPartition, LoadChunk, PlanDetach, PlanImport, PlanReplay, SwapStage
from shared.contracts.events import ChunkLoaded
from shared.contracts.message import Command
from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from shared.db import LIMIT_IDLE, Connection

COUNTERS = Outcome.__struct_fields__
PlannedCommand = LoadChunk | SwapStage | DetachPartition


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger, with everything needed to load the chunk."""

    ledger: int
    job_id: UUID
    chunk: int
    dataset: Dataset
    dialect: Dialect
    load_options: LoadOptions
    file: str | None = None
    replay_of: UUID | None = None
    stopped: Problem | None = None


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


async def insert_chunk(
    db: Connection,
    command: Command,
    *,
    job_id: UUID,
    chunk: int,
    size: int,
    dialect: Dialect,
    load_options: LoadOptions,
    source: str | None = None,
) -> Chunk:
    """Inserts an unplanned chunk of `size` bytes, whose rows came with the command. Raises LookupError."""
    row = await db.fetchrow(
        """
        WITH import AS (
            INSERT INTO imports (job_id, dataset, dialect, load_options, source, chunks)
            VALUES ($1, $2, $6, $7, $8, CASE WHEN $8::text IS NULL THEN 1 END) ON CONFLICT (job_id) DO NOTHING
        ), line AS (
            INSERT INTO chunks (job_id, dataset, chunk, message_id, start_byte, end_byte, line, overlong)
            VALUES ($1, $2, $3, $4, 0, $5, 1, false) RETURNING ledger
        )
        SELECT ledger, declaration FROM line, datasets WHERE name = $2
        """,
        job_id,
        command.dataset,
        chunk,
        command.id,
        size,
        msgspec.to_builtins(dialect),
        msgspec.to_builtins(load_options),
        source,
    )
    if row is None:
        raise LookupError(f"dataset {command.dataset} is not declared")
    dataset = msgspec.convert(row["declaration"], Dataset)
    return Chunk(
        ledger=row["ledger"], job_id=job_id, chunk=chunk, dataset=dataset, dialect=dialect, load_options=load_options
    )


async def select_chunk(db: Connection, job_id: UUID, chunk: int) -> Chunk:
    """Locks the chunk until the transaction ends. Raises LookupError for a chunk that was never planned."""
    row = await db.fetchrow(
        """
        SELECT c.ledger, c.job_id, c.chunk, d.declaration AS dataset, i.dialect, i.load_options, i.file, i.replay_of,
               i.stopped
        FROM chunks c JOIN imports i USING (job_id) JOIN datasets d ON d.name = c.dataset
        WHERE c.job_id = $1 AND c.chunk = $2 FOR UPDATE OF c
        """,
        job_id,
        chunk,
    )
    if row is None:
        raise LookupError(f"chunk {chunk} of job {job_id} is not in the ledger")
    return msgspec.convert(dict(row), Chunk)


async def select_ledger_numbers(db: Connection, job_id: UUID) -> list[int]:
    """Returns the ledger numbers of all chunks of a job."""
    rows = await db.fetch("SELECT ledger FROM chunks WHERE job_id = $1", job_id)
    return [row["ledger"] for row in rows]


class EarlierChunks(msgspec.Struct, frozen=True):
    """The chunks before another one: how many are not loaded, how many of these gave up, and the rows of the others."""

    waiting: int
    lost: int
    written: int


async def select_earlier_chunks(db: Connection, job_id: UUID, chunk: int) -> EarlierChunks:
    """Counts the chunks of the job before `chunk`, as committed."""
    row = await db.fetchrow(
        """
        SELECT count(*) FILTER (WHERE loaded_at IS NULL) AS waiting,
               count(*) FILTER (WHERE loaded_at IS NULL AND EXISTS (
                   SELECT FROM dead_letters d WHERE d.id = message_id AND d.state = 'dead'
               )) AS lost,
               coalesce(sum(inserted + updated), 0)::bigint AS written
        FROM chunks WHERE job_id = $1 AND chunk < $2
        """,
        job_id,
        chunk,
    )
    return EarlierChunks(**row) if row else EarlierChunks(0, 0, 0)


async def close_chunk(db: Connection, chunk: Chunk, outcome: Outcome, *, size: int = 0) -> ChunkLoaded:
    """Closes the line of a chunk of `size` bytes, with a new version of the dataset, and returns the event.

    Call it last before the commit: it locks the dataset's row, so later changes get higher versions and the chunks of a
    job pass one at a time. A declaration changes the same row: what it adds is built from all chunks before it.
    """
    row = await db.fetchrow(
        "UPDATE datasets SET version = version + 1 WHERE name = $1"
        f" RETURNING version, {readers.declared('datasets')} AS readers, {LIMIT_IDLE}",
        chunk.dataset.name,
    )
    if row is None:
        raise LookupError(f"dataset {chunk.dataset.name} is not declared")
    await db.execute(
        f"""
        UPDATE chunks SET loaded_at = clock_timestamp(), version = $2,
               {", ".join(f"{counter} = ${number}" for number, counter in enumerate(COUNTERS, 3))}
        WHERE ledger = $1 AND loaded_at IS NULL
        """,
        chunk.ledger,
        row["version"],
        *(getattr(outcome, counter) for counter in COUNTERS),
    )
    return ChunkLoaded(
        dataset=chunk.dataset.name,
        job_id=chunk.job_id,
        chunk=chunk.chunk,
        ledger=chunk.ledger,
        version=row["version"],
        bytes=size,
        outcome=outcome,
        readers=tuple(row["readers"]),
    )


async def select_outcome(db: Connection, job_id: UUID) -> tuple[Outcome, int, Problem | None]:
    """Returns a job's outcome so far, how many of its chunks are not loaded, and the problem that stopped it."""
    row = await db.fetchrow(
        f"""
        SELECT {", ".join(f"coalesce(sum({counter}), 0)::bigint AS {counter}" for counter in COUNTERS)},
               count(*) FILTER (WHERE loaded_at IS NULL AND start_byte < end_byte) AS _waiting,
               (SELECT stopped FROM imports WHERE job_id = $1) AS _stopped
        FROM chunks WHERE job_id = $1
        """,
        job_id,
    )
    if row is None:
        raise LookupError(f"job {job_id} is not in the ledger")
    stopped = msgspec.convert(row["_stopped"], Problem) if row["_stopped"] else None
    return Outcome(**{counter: row[counter] for counter in COUNTERS}), row["_waiting"], stopped


async def update_stopped(db: Connection, job_id: UUID, problem: Problem) -> None:
    """Marks the job as stopped: its other chunks will not be loaded."""
    await db.execute("UPDATE imports SET stopped = $2 WHERE job_id = $1", job_id, msgspec.to_builtins(problem))
