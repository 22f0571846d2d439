"""Counts a loaded chunk: adds its deltas to the rollups of its dataset."""

from services.analytics import deltas, queries
from shared.bus.failures import NotReady
from shared.contracts.events import ChunkCounted, ChunkLoaded
from shared.db import Connection
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.telemetry import metrics


async def count_chunk(event: ChunkLoaded, db: Connection) -> ChunkCounted | None:
    """Adds the chunk's deltas to every built rollup, once. Returns None for a dataset without rollups.

    A rollup that is declared and not built yet will be built from all rows, including these. Raises NotReady while the
    dataset's first rollups are not built.
    """
    # Lock before reading which rollups are built: a build must know which rollups contain this chunk.
    await queries.lock_counts(db, event.dataset, exclusive=False)
    dataset = await select_dataset(db, event.dataset)
    rollups = await queries.select_rollups(db, dataset)
    if dataset.rollups and not rollups:
        raise NotReady
    groups = 0
    if await queries.claim_chunk(db, event.ledger):
        groups = sum([await deltas.add_chunks(db, tables, [event.ledger]) for tables in rollups])
        if groups:
            await queries.update_groups(db, event.ledger, groups)
    if not rollups:
        return None
    await update_freshness(db, event.dataset, "counted")
    metrics.GROUPS.labels(event.dataset).inc(groups)
    return ChunkCounted(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, groups=groups)
