"""Queries about the chunks that jobs wait for. Lock the jobs before: a tally then includes every mark of others."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from services.gateway.jobs.progress import Tally
from shared.contracts.events import ChunkCounted, ChunkEvent, ChunkIndexed, ChunkLoaded
from shared.contracts.parts import Outcome
from shared.db import Connection
from shared.reads.ingestor.tables import DATASETS

COUNTS = Outcome.__struct_fields__
UNREAD = """
coalesce('indexer' <> ALL(string_to_array(readers, ',')), d.declaration->'search' IS NULL),
coalesce('analytics' <> ALL(string_to_array(readers, ',')), d.declaration->'rollups' IS NULL)
"""
"""Whether no service indexes the chunk, and whether none counts it: by its event, or else by the declaration."""
SUMS = f"""
job_id, count(*) FILTER (WHERE loaded) AS loaded, count(*) FILTER (WHERE indexed) AS indexed,
count(*) FILTER (WHERE counted) AS counted, coalesce(sum(bytes), 0)::bigint AS bytes, max(version) AS version,
{", ".join(f"coalesce(sum({count}), 0)::bigint AS {count}" for count in COUNTS)}
"""


async def record_loaded(db: Connection, events: Sequence[ChunkLoaded]) -> dict[UUID, Tally]:
    """Marks chunks as loaded, with their counts, and returns the tallies of their jobs.

    A chunk that no service indexes or counts is marked as indexed or counted, too.
    """
    chunks = list({(event.job_id, event.chunk): event for event in events}.values())
    return await _record(
        db,
        f"""
        INSERT INTO chunks (job_id, chunk, loaded, bytes, version, indexed, counted, {", ".join(COUNTS)})
        SELECT job_id, chunk, true, bytes, e.version, {UNREAD}, {", ".join(COUNTS)}
        FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::bigint[], $6::text[],
                    {", ".join(f"${number}::bigint[]" for number in range(7, 7 + len(COUNTS)))})
             AS e (job_id, chunk, bytes, dataset, version, readers, {", ".join(COUNTS)})
        JOIN {DATASETS} d ON d.name = e.dataset
        ON CONFLICT (job_id, chunk) DO UPDATE SET loaded = true, bytes = excluded.bytes, version = excluded.version,
               indexed = chunks.indexed OR excluded.indexed, counted = chunks.counted OR excluded.counted,
               {", ".join(f"{count} = excluded.{count}" for count in COUNTS)}
        """,
        chunks,
        [event.bytes for event in chunks],
        [event.dataset for event in chunks],
        [event.version for event in chunks],
        [None if event.readers is None else ",".join(event.readers) for event in chunks],
        *([getattr(event.outcome, count) for event in chunks] for count in COUNTS),
    )


async def record_indexed(db: Connection, events: Sequence[ChunkIndexed]) -> dict[UUID, Tally]:
    """Marks chunks as indexed and returns the tallies of their jobs. ChunkLoaded may arrive later."""
    return await _record_mark(db, "indexed", events)


async def record_counted(db: Connection, events: Sequence[ChunkCounted]) -> dict[UUID, Tally]:
    """Marks chunks as counted and returns the tallies of their jobs. ChunkLoaded may arrive later."""
    return await _record_mark(db, "counted", events)


async def select_tally(db: Connection, job_id: UUID) -> Tally:
    """Returns the sums over the job's chunks."""
    rows = await db.fetch(f"SELECT {SUMS} FROM chunks WHERE job_id = $1 GROUP BY job_id", job_id)
    return _to_tallies(rows).get(job_id, Tally())


async def _record_mark(db: Connection, mark: str, events: Sequence[ChunkIndexed | ChunkCounted]) -> dict[UUID, Tally]:
    return await _record(
        db,
        f"""
        INSERT INTO chunks (job_id, chunk, {mark}) SELECT job_id, chunk, true FROM unnest($1::uuid[], $2::int[])
               AS e (job_id, chunk)
        ON CONFLICT (job_id, chunk) DO UPDATE SET {mark} = true
        """,
        list({(event.job_id, event.chunk): event for event in events}.values()),
    )


async def _record(
    db: Connection, insert: str, chunks: Sequence[ChunkEvent], *columns: Sequence[Any]
) -> dict[UUID, Tally]:
    """Runs `insert` with the jobs, numbers and `columns` of the chunks, and returns the tallies of the jobs.

    A statement does not see the rows that it writes, so these come from RETURNING and replace the ones in the table.
    """
    rows = await db.fetch(
        f"""
        WITH marked AS ({insert} RETURNING *), current AS (
            SELECT * FROM marked UNION ALL SELECT * FROM chunks c WHERE job_id = ANY($1)
            AND NOT EXISTS (SELECT FROM marked m WHERE (m.job_id, m.chunk) = (c.job_id, c.chunk))
        )
        SELECT {SUMS} FROM current GROUP BY job_id
        """,
        [chunk.job_id for chunk in chunks],
        [chunk.chunk for chunk in chunks],
        *columns,
    )
    return _to_tallies(rows)


def _to_tallies(rows: Iterable[Any]) -> dict[UUID, Tally]:
    tallies = {}
    for row in rows:
        sums = dict(row)
        job_id, outcome = sums.pop("job_id"), Outcome(**{count: sums.pop(count) for count in COUNTS})
        tallies[job_id] = Tally(outcome=outcome, **sums)
    return tallies
