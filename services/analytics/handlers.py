"""What analytics decides: what a chunk changes in the rollups of its dataset."""

from services.analytics import queries
from shared import ledger
from shared.bus.routes import queue
from shared.contracts.events import ChunkCounted, ChunkLoaded, DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection
from shared.telemetry import metrics

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100


async def prepare_rollups(event: DatasetDeclared, db: Connection) -> None:
    """A report can be asked for before the first row is there."""
    dataset = await ledger.select_dataset(db, event.dataset)
    for rollup in dataset.rollups:
        await queries.create_rollup(db, dataset, rollup)


async def count_chunk(event: ChunkLoaded, db: Connection) -> ChunkCounted | None:
    """Adds what the chunk changed to every rollup, once; for a dataset without rollups nobody waits."""
    dataset = await ledger.select_dataset(db, event.dataset)
    groups = 0
    if not await queries.is_counted(db, event.ledger):
        for rollup in dataset.rollups:
            await queries.create_rollup(db, dataset, rollup)
            groups += await queries.update_rollup(db, dataset, rollup, event.ledger)
        await queries.insert_counted(db, event.ledger, groups)
    if not dataset.rollups:
        return None
    metrics.GROUPS.labels(event.dataset).inc(groups)
    return ChunkCounted(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, groups=groups)


async def resend_uncounted(db: Connection) -> list[tuple[str, Message]]:
    """Chunks whose event is lost: the ingestor's ledger and ours tell."""
    events = await ledger.select_undone(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    return [(queue("analytics", ChunkLoaded), event) for event in events]
