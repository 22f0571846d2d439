"""Queries about failed rows: jobs keep them, a replay claims them, or they are discarded."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from services.ingestor.chunk_ledger import LoadedChunk
from services.ingestor.parse.parser import count_errors
from services.ingestor.write import queries
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DiscardRows, PlanReplay
from shared.contracts.failures import CUT_OFF, UNREADABLE
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection

CHUNK_ROWS = 5000
CHUNK_BYTES = 6 << 20
CLAIM_SECONDS = 900.0


class ClaimedChunk(msgspec.Struct, frozen=True):
    """Failed rows that a replay has claimed as one of its chunks: the line of the first, and the bytes of all."""

    chunk: int
    line: int
    bytes: int


async def insert_failed_rows(db: Connection, loaded: Sequence[LoadedChunk]) -> None:
    """Counts all errors of the chunks; keeps their failed rows, up to each job's `max_failed_rows`.

    No two chunks are of the same job.
    """
    errors = [
        (item.chunk, code, column, rows)
        for item in loaded
        for (code, column), rows in count_errors(item.failed).items()
    ]
    await db.execute(
        """
        INSERT INTO failures (job_id, chunk, code, "column", rows)
        SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bigint[])
        """,
        [chunk.job_id for chunk, *_ in errors],
        [chunk.chunk for chunk, *_ in errors],
        [code for _, code, *_ in errors],
        [column for *_, column, _ in errors],
        [rows for *_, rows in errors],
    )
    room = await _claim_room(db, loaded)
    await db.copy_records_to_table(
        "failed_rows",
        columns=["job_id", "dataset", "chunk", "line", "raw", "errors"],
        records=[
            (chunk.job_id, chunk.dataset.name, chunk.chunk, row.line, row.raw, msgspec.to_builtins(row.errors))
            for chunk, _, _, failed in loaded
            for row in failed[: room[chunk.job_id]]
        ],
        timeout=queries.COPY_SECONDS,
    )


async def _claim_room(db: Connection, loaded: Sequence[LoadedChunk]) -> dict[UUID, int]:
    """Returns how many failed rows of each job are kept, and counts them."""
    rows = await db.fetch(
        """
        UPDATE imports SET failed_kept = least(failed_kept + failed, most)
        FROM (
            SELECT job_id, failed_kept AS before, failed, most
            FROM imports JOIN unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS n (job_id, failed, most) USING (job_id)
            WHERE job_id = ANY($1) ORDER BY job_id FOR UPDATE OF imports
        ) b
        WHERE imports.job_id = ANY($1) AND imports.job_id = b.job_id
        RETURNING imports.job_id, failed_kept - before AS room
        """,
        [item.chunk.job_id for item in loaded],
        [len(item.failed) for item in loaded],
        [item.chunk.load_options.max_failed_rows for item in loaded],
    )
    return {row["job_id"]: row["room"] for row in rows}


async def select_dialect_and_dataset(db: Connection, job_id: UUID) -> tuple[Dialect, Dataset]:
    """Returns the dialect of a job's rows and the current declaration. Raises LookupError for an unknown job."""
    row = await db.fetchrow(
        "SELECT i.dialect, d.declaration FROM imports i JOIN datasets d ON d.name = i.dataset WHERE i.job_id = $1",
        job_id,
    )
    if row is None:
        raise LookupError(f"job {job_id} is not in the ledger")
    return msgspec.convert(row["dialect"], Dialect), msgspec.convert(row["declaration"], Dataset)


async def claim_rows(db: Connection, command: PlanReplay) -> list[ClaimedChunk]:
    """Claims the open rows that can be parsed again, in the order of the input.

    Locks them in that order first: of two jobs that claim the same row, the second no longer sees it, and there is no
    deadlock.
    """
    rows = await db.fetch(
        r"""
        WITH claimable AS (
            SELECT id, line, octet_length(raw) AS size FROM failed_rows
            WHERE job_id = $1 AND state = 'open' AND errors @> $2 AND octet_length(raw) < $3 AND raw ~ '[^ \t\r\n]'
              AND NOT EXISTS (SELECT FROM jsonb_array_elements(errors) e WHERE e->>'code' = ANY($4))
            ORDER BY line, id FOR UPDATE
        ), placed AS (
            SELECT id, line, size, (row_number() OVER w - 1) / $5 AS by_rows, (sum(size) OVER w - size) / $6 AS by_bytes
            FROM claimable WINDOW w AS (ORDER BY line, id)
        ), numbered AS (
            SELECT id, line, size, dense_rank() OVER (ORDER BY by_rows, by_bytes)::int AS chunk FROM placed
        ), taken AS (
            UPDATE failed_rows f SET state = 'replayed', resolved_by = $7, replay_chunk = n.chunk
            FROM numbered n WHERE f.id = n.id
        )
        SELECT chunk, min(line) AS line, sum(size)::bigint AS bytes FROM numbered GROUP BY chunk ORDER BY chunk
        """,
        command.replay_of,
        _error_filter(command),
        CUT_OFF,
        list(UNREADABLE),
        CHUNK_ROWS,
        CHUNK_BYTES,
        command.job_id,
        timeout=CLAIM_SECONDS,
    )
    return [ClaimedChunk(**row) for row in rows]


async def count_unreadable(db: Connection, command: PlanReplay) -> int:
    """Counts the open rows that match the command and can't be parsed again."""
    count: int = await db.fetchval(
        r"""
        SELECT count(*) FROM failed_rows
        WHERE job_id = $1 AND state = 'open' AND errors @> $2
          AND (octet_length(raw) >= $3 OR raw !~ '[^ \t\r\n]'
               OR EXISTS (SELECT FROM jsonb_array_elements(errors) e WHERE e->>'code' = ANY($4)))
        """,
        command.replay_of,
        _error_filter(command),
        CUT_OFF,
        list(UNREADABLE),
    )
    return count


async def select_unknown_fields(db: Connection, job_id: UUID) -> set[str]:
    """Returns the keys of the rows claimed by this job that were unknown fields when they failed."""
    rows = await db.fetch(
        """
        SELECT DISTINCT e->>'column' AS name FROM failed_rows, jsonb_array_elements(errors) e
        WHERE resolved_by = $1 AND e->>'code' = 'unknown_field'
        """,
        job_id,
    )
    return {row["name"] for row in rows}


async def select_raw_rows(db: Connection, job_id: UUID, chunk: int) -> list[tuple[int, str]]:
    """Returns lines and texts of the rows that the replay has claimed as this chunk; each JSON row in one line."""
    rows = await db.fetch(
        r"""
        SELECT f.line,
               CASE WHEN i.dialect->>'format' IN ('ndjson', 'json') THEN translate(f.raw, E'\r\n', '  ')
                    ELSE f.raw END AS raw
        FROM failed_rows f JOIN imports i ON i.job_id = f.job_id
        WHERE f.resolved_by = $1 AND f.replay_chunk = $2 ORDER BY f.line, f.id
        """,
        job_id,
        chunk,
    )
    return [(row["line"], row["raw"]) for row in rows]


async def update_warning(db: Connection, job_id: UUID, warning: Problem) -> None:
    """Sets the warning of a job."""
    await db.execute("UPDATE imports SET warning = $2 WHERE job_id = $1", job_id, msgspec.to_builtins(warning))


async def discard_rows(db: Connection, command: DiscardRows) -> None:
    """Marks open rows as discarded, and keeps them. Locks them in the order of `claim_rows`."""
    await db.execute(
        """
        UPDATE failed_rows SET state = 'discarded', resolved_by = $3 WHERE id IN (
            SELECT id FROM failed_rows WHERE job_id = $1 AND state = 'open' AND errors @> $2
            ORDER BY line, id FOR UPDATE
        )
        """,
        command.failed_in,
        _error_filter(command),
        command.request_id,
        timeout=CLAIM_SECONDS,
    )


def _error_filter(command: PlanReplay | DiscardRows) -> Sequence[dict[str, Any]]:
    """Returns what `errors` must contain to match the command."""
    error = {"code": command.code, "column": command.column}
    return [{name: value for name, value in error.items() if value is not None}]
