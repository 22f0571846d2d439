"""Counts loaded chunks: adds their deltas to the rollups of their datasets."""

from collections import Counter
from collections.abc import Sequence

from services.analytics import deltas, queries
from shared.bus.failures import NotReady
from shared.contracts.events import ChunkCounted, ChunkLoaded
from shared.db import Connection
from shared.reads.ingestor.chunks import by_dataset, update_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.telemetry import metrics


async def count_chunks(events: Sequence[ChunkLoaded], db: Connection) -> list[ChunkCounted]:
    """Adds the deltas of the chunks to every built rollup, once. Answers every chunk, also without rollups.

    A rollup that is declared and not built yet will be built from all rows, including these. Raises NotReady while the
    dataset's first rollups are not built.
    """
    groups: Counter[int] = Counter()
    counted = []
    for name, chunks in by_dataset(events).items():
        # Lock before reading which rollups are built: a build must know which rollups contain these chunks.
        await queries.lock_counts(db, name, exclusive=False)
        dataset = await select_dataset(db, name)
        rollups = await queries.select_rollups(db, dataset)
        if dataset.rollups and not rollups:
            raise NotReady
        if rollups:
            counted.append(name)
        changed: Counter[int] = Counter()
        if ledgers := await queries.claim_chunks(db, [event.ledger for event in chunks]):
            for tables in rollups:
                changed += await deltas.add_chunks(db, tables, ledgers)
        if changed:
            await queries.update_groups(db, changed)
        groups += changed
    for name in counted:
        await update_freshness(db, name, "counted")
    for event in events:
        metrics.GROUPS.labels(event.dataset).inc(groups[event.ledger])
    return [
        ChunkCounted(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, groups=groups[event.ledger])
        for event in events
    ]
