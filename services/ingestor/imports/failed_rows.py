"""The rows that were refused, once they are kept: taken up again, or discarded."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.catalog.dataset import Dataset
from shared.contracts.commands import DiscardRows, PlanReplay
from shared.contracts.failures import CUT_OFF, UNREADABLE
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection

CHUNK_ROWS = 5000
CHUNK_BYTES = 6 << 20
CLAIM_SECONDS = 900.0


class Claimed(msgspec.Struct, frozen=True):
    """Rows that a replaying job has taken up as one of its chunks: the line of the first, and the size of all."""

    chunk: int
    line: int
    bytes: int


async def select_written(db: Connection, job_id: UUID) -> tuple[Dialect, Dataset]:
    """How the rows of a job were written, and what is demanded of them now. Raises LookupError for an unknown job."""
    row = await db.fetchrow(
        "SELECT i.dialect, d.declaration FROM imports i JOIN datasets d ON d.name = i.dataset WHERE i.job_id = $1",
        job_id,
    )
    if row is None:
        raise LookupError(f"job {job_id} has brought no rows")
    return msgspec.convert(row["dialect"], Dialect), msgspec.convert(row["declaration"], Dataset)


async def claim_rows(db: Connection, command: PlanReplay) -> list[Claimed]:
    """Takes open rows up, as far as they can be read again, in the order of the input.

    They are locked in that order before anything is done: of two jobs that want the same row, the second does not see
    it any more, and none waits for the other for ever.
    """
    rows = await db.fetch(
        r"""
        WITH mine AS (
            SELECT id, line, octet_length(raw) AS size FROM failed_rows
            WHERE job_id = $1 AND state = 'open' AND errors @> $2 AND octet_length(raw) < $3 AND raw ~ '[^ \t\r\n]'
              AND NOT EXISTS (SELECT FROM jsonb_array_elements(errors) e WHERE e->>'code' = ANY($4))
            ORDER BY line, id FOR UPDATE
        ), placed AS (
            SELECT id, line, size, (row_number() OVER w - 1) / $5 AS by_rows, (sum(size) OVER w - size) / $6 AS by_bytes
            FROM mine WINDOW w AS (ORDER BY line, id)
        ), numbered AS (
            SELECT id, line, size, dense_rank() OVER (ORDER BY by_rows, by_bytes)::int AS chunk FROM placed
        ), taken AS (
            UPDATE failed_rows f SET state = 'replayed', resolved_by = $7, replay_chunk = n.chunk
            FROM numbered n WHERE f.id = n.id
        )
        SELECT chunk, min(line) AS line, sum(size)::bigint AS bytes FROM numbered GROUP BY chunk ORDER BY chunk
        """,
        command.replay_of,
        _error(command),
        CUT_OFF,
        list(UNREADABLE),
        CHUNK_ROWS,
        CHUNK_BYTES,
        command.job_id,
        timeout=CLAIM_SECONDS,
    )
    return [Claimed(**row) for row in rows]


async def count_left(db: Connection, command: PlanReplay) -> int:
    """Of the rows that were asked for, those that can't be read again."""
    count: int = await db.fetchval(
        r"""
        SELECT count(*) FROM failed_rows
        WHERE job_id = $1 AND state = 'open' AND errors @> $2
          AND (octet_length(raw) >= $3 OR raw !~ '[^ \t\r\n]'
               OR EXISTS (SELECT FROM jsonb_array_elements(errors) e WHERE e->>'code' = ANY($4)))
        """,
        command.replay_of,
        _error(command),
        CUT_OFF,
        list(UNREADABLE),
    )
    return count


async def select_unknown_fields(db: Connection, job_id: UUID) -> set[str]:
    """Names that rows which this job took up gave to values, and that were no fields then."""
    rows = await db.fetch(
        """
        SELECT DISTINCT e->>'column' AS name FROM failed_rows, jsonb_array_elements(errors) e
        WHERE resolved_by = $1 AND e->>'code' = 'unknown_field'
        """,
        job_id,
    )
    return {row["name"] for row in rows}


async def read_raw(db: Connection, job_id: UUID, chunk: int) -> list[tuple[int, str]]:
    """Lines and text of the rows that a replaying job has taken up as this chunk. JSON is on a single line each."""
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
    """What the job has run into without failing."""
    await db.execute("UPDATE imports SET warning = $2 WHERE job_id = $1", job_id, msgspec.to_builtins(warning))


async def discard_rows(db: Connection, command: DiscardRows) -> None:
    """Marks open rows and keeps them; locked in the order in which a replay locks them."""
    await db.execute(
        """
        UPDATE failed_rows SET state = 'discarded', resolved_by = $3 WHERE id IN (
            SELECT id FROM failed_rows WHERE job_id = $1 AND state = 'open' AND errors @> $2
            ORDER BY line, id FOR UPDATE
        )
        """,
        command.failed_in,
        _error(command),
        command.request_id,
        timeout=CLAIM_SECONDS,
    )


def _error(command: PlanReplay | DiscardRows) -> Sequence[dict[str, Any]]:
    """What `errors` must contain."""
    given = {"code": command.code, "column": command.column}
    return [{name: value for name, value in given.items() if value is not None}]
