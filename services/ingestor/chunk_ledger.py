"""Queries about the chunk ledger: a chunk to load, and the counts of those that are loaded."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.ingestor import readers
from services.ingestor.parse.row_errors import FailedRow
from shared.catalog.dataset import Dataset
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from shared.db import LIMIT_IDLE, Connection

COUNTERS = Outcome.__struct_fields__


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger, with everything needed to load the chunk. `now` is when the transaction began."""

    ledger: int
    job_id: UUID
    chunk: int
    chunks: int | None
    """The chunks of the job, None if that is not known yet."""
    dataset: Dataset
    dialect: Dialect
    load_options: LoadOptions
    now: dt.datetime
    file: str | None = None
    replay_of: UUID | None = None
    stopped: Problem | None = None

    @property
    def has_siblings(self) -> bool:
        """Whether the job may have other chunks."""
        return self.chunks != 1


class LoadedChunk(NamedTuple):
    """A chunk of `size` bytes whose rows are written, and the rows that failed."""

    chunk: Chunk
    outcome: Outcome
    size: int = 0
    failed: Sequence[FailedRow] = ()


async def select_chunk(db: Connection, job_id: UUID, chunk: int) -> Chunk:
    """Locks the chunk until the transaction ends. Raises LookupError for a chunk that was never planned."""
    row = await db.fetchrow(
        """
        SELECT c.ledger, c.job_id, c.chunk, i.chunks, d.declaration AS dataset, i.dialect, i.load_options,
               now() AS now, i.file, i.replay_of, i.stopped
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


async def close_chunks(db: Connection, loaded: Sequence[LoadedChunk]) -> list[ChunkLoaded]:
    """Closes the lines of the chunks, each with a new version of its dataset, and returns the events.

    Versions are in the order of the chunks. Call it last before the commit: it locks the rows of the datasets, so later
    changes get higher versions and the chunks of a job pass one at a time. A declaration changes the same row: what it
    adds is built from all chunks before it.
    """
    steps: Counter[str] = Counter()
    step = []
    for item in loaded:
        steps[item.chunk.dataset.name] += 1
        step.append(steps[item.chunk.dataset.name])
    rows = await db.fetch(
        f"""
        WITH closed AS (
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[], $4::int[]
                                 {"".join(f", ${number}::bigint[]" for number, _ in enumerate(COUNTERS, 5))})
                AS c (ledger, dataset, step, steps, {", ".join(COUNTERS)})
        ), locked AS (
            SELECT name FROM datasets WHERE name = ANY($2) ORDER BY name FOR NO KEY UPDATE
        ), changed AS (
            UPDATE datasets d SET version = version + c.steps
            FROM locked JOIN (SELECT DISTINCT dataset, steps FROM closed) c ON c.dataset = locked.name
            WHERE d.name = locked.name RETURNING d.name, d.version, {readers.declared("d")} AS readers
        ), line AS (
            UPDATE chunks SET loaded_at = clock_timestamp(), version = changed.version - closed.steps + closed.step,
                   {", ".join(f"{counter} = closed.{counter}" for counter in COUNTERS)}
            FROM closed JOIN changed ON changed.name = closed.dataset
            WHERE chunks.ledger = ANY($1) AND chunks.ledger = closed.ledger AND chunks.loaded_at IS NULL
        )
        SELECT name, version, readers, {LIMIT_IDLE} FROM changed
        """,
        [item.chunk.ledger for item in loaded],
        [item.chunk.dataset.name for item in loaded],
        step,
        [steps[item.chunk.dataset.name] for item in loaded],
        *([getattr(item.outcome, counter) for item in loaded] for counter in COUNTERS),
    )
    changed = {row["name"]: row for row in rows}
    return [
        ChunkLoaded(
            dataset=item.chunk.dataset.name,
            job_id=item.chunk.job_id,
            chunk=item.chunk.chunk,
            ledger=item.chunk.ledger,
            version=changed[item.chunk.dataset.name]["version"] - steps[item.chunk.dataset.name] + number,
            bytes=item.size,
            outcome=item.outcome,
            readers=tuple(changed[item.chunk.dataset.name]["readers"]),
        )
        for item, number in zip(loaded, step, strict=True)
    ]


async def close_chunk(db: Connection, chunk: Chunk, outcome: Outcome) -> ChunkLoaded:
    """Closes the line of a chunk without input, like `close_chunks`."""
    (event,) = await close_chunks(db, [LoadedChunk(chunk, outcome)])
    return event


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


async def update_stopped(db: Connection, problems: Mapping[UUID, Problem]) -> None:
    """Marks the jobs as stopped: their other chunks will not be loaded."""
    await db.execute(
        "UPDATE imports SET stopped = p.problem FROM unnest($1::uuid[], $2::jsonb[]) AS p (job_id, problem)"
        " WHERE imports.job_id = ANY($1) AND imports.job_id = p.job_id",
        list(problems),
        [msgspec.to_builtins(problem) for problem in problems.values()],
    )
