"""Deletes before-images that neither search nor rollups need any more."""

from services.ingestor import readers
from shared.db import Connection
from shared.db.locks import lock_readers_out
from shared.reads.indexer.tables import INDEXES
from shared.retention import STEP_ROWS, Position, Step

CHUNKS_AT_ONCE = 500


async def delete_before_images(db: Connection, _days: int, position: Position) -> Step:
    """Deletes the images of replaced rows whose old and new chunk are both indexed and counted, as far as declared.

    An image adds to the chunk that wrote the row and subtracts from the chunk that replaced it. Once both have it, or
    neither will read it, it is worth nothing. A generation or a rollup that is being built reads the images of chunks
    that are finished elsewhere, so the images of its dataset stay until it is done.
    """
    chunks = await db.fetch(
        f"""
        WITH RECURSIVE replacing AS (
            (SELECT ledger, dataset FROM replaced WHERE ledger > $1 ORDER BY ledger LIMIT 1)
            UNION ALL
            SELECT following.* FROM replacing, LATERAL (
                SELECT ledger, dataset FROM replaced r WHERE r.ledger > replacing.ledger ORDER BY r.ledger LIMIT 1
            ) following
        )
        SELECT ledger, dataset, {readers.have_finished("d", "r.ledger")} AS done
        FROM (SELECT * FROM replacing LIMIT $2) r JOIN datasets d ON d.name = r.dataset
        ORDER BY ledger
        """,
        position or 0,
        CHUNKS_AT_ONCE,
    )
    datasets = {row["dataset"] for row in chunks if row["done"]}
    free = {dataset for dataset in datasets if await _is_free(db, dataset)}
    status = await db.execute(
        f"""
        DELETE FROM replaced WHERE ctid = ANY (ARRAY(
            SELECT r.ctid FROM replaced r JOIN datasets d ON d.name = r.dataset
            WHERE r.ledger = ANY($1) AND {readers.have_finished("d", "r.was")}
            LIMIT $2
        ))
        """,
        [row["ledger"] for row in chunks if row["done"] and row["dataset"] in free],
        STEP_ROWS,
    )
    deleted = int(status.split()[-1])
    if deleted == STEP_ROWS:
        return Step(deleted, position or 0)
    return Step(deleted, chunks[-1]["ledger"] if len(chunks) == CHUNKS_AT_ONCE else None)


async def _is_free(db: Connection, dataset: str) -> bool:
    """Locks the dataset's readers out, then returns whether no generation is being built."""
    if not await lock_readers_out(db, dataset):
        return False
    # A statement of its own: its snapshot is younger than the locks.
    return not await db.fetchval(
        f"SELECT EXISTS (SELECT FROM {INDEXES} WHERE dataset = $1 AND state = 'building')", dataset
    )
