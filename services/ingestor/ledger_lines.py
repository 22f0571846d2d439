"""Deletes lines of the chunk ledger that no row, no image and no reader refers to."""

from services.ingestor import readers
from services.ingestor.ddl import quote
from shared.db import Connection
from shared.retention import OLD, STEP_ROWS, Position, Step


async def delete_ledger_lines(db: Connection, days: int, position: Position) -> Step:
    """Deletes old lines that were never loaded, or whose rows are gone and that search and rollups have finished with.

    Rows carry the number of their line, from which an index that is built gets their version. The youngest line of a
    dataset stays, because watermarks are computed from it.
    """
    page = await db.fetch(
        f"""
        SELECT ledger, coalesce(loaded_at, sent_at) < {OLD} AS old FROM chunks
        WHERE ledger > $2 ORDER BY ledger LIMIT {STEP_ROWS}
        """,
        days,
        position or 0,
    )
    old = [row["ledger"] for row in page if row["old"]]
    gone = await _select_unneeded(db, old)
    await db.execute("DELETE FROM chunks WHERE ledger = ANY($1)", gone)
    return Step(len(gone), old[-1] if old and len(page) == STEP_ROWS else None)


async def _select_unneeded(db: Connection, ledgers: list[int]) -> list[int]:
    rows = await db.fetch(
        f"""
        SELECT c.ledger, c.loaded_at IS NULL OR c.inserted + c.updated + c.duplicates = 0 AS has_no_rows, d.name,
               d.declaration->'search' IS NOT NULL OR d.declaration->'rollups' IS NOT NULL AS is_tracked
        FROM chunks c JOIN datasets d ON d.name = c.dataset
        WHERE c.ledger = ANY($1) AND (
            c.loaded_at IS NULL
            OR c.version < d.version
               AND {readers.have_finished("d", "c.ledger")}
               AND NOT EXISTS (SELECT FROM replaced r WHERE r.ledger = c.ledger)
               AND NOT EXISTS (SELECT FROM replaced r WHERE r.was = c.ledger)
               AND NOT EXISTS (SELECT FROM failures f WHERE f.job_id = c.job_id AND f.chunk = c.chunk)
        )
        FOR UPDATE OF c SKIP LOCKED
        """,
        ledgers,
    )
    unneeded = [row["ledger"] for row in rows if row["has_no_rows"]]
    # Only tracked datasets have an index by which the rows of a chunk are found.
    for dataset in {row["name"] for row in rows if row["is_tracked"]}:
        unneeded += await _select_without_rows(
            db, dataset, [row["ledger"] for row in rows if row["name"] == dataset and not row["has_no_rows"]]
        )
    return unneeded


async def _select_without_rows(db: Connection, dataset: str, ledgers: list[int]) -> list[int]:
    await db.execute("SET LOCAL enable_seqscan = off")  # the planner expects to find a row soon, and there is none
    rows = await db.fetch(
        f"""
        SELECT ledger FROM unnest($1::bigint[]) AS l (ledger)
        WHERE (SELECT true FROM data.{quote(dataset)} t WHERE t."_chunk" = l.ledger LIMIT 1) IS NULL
        """,
        ledgers,
    )
    return [row["ledger"] for row in rows]
