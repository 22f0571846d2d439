"""What the indexer decides: which rows of a chunk become documents."""

from services.indexer import queries
from shared import ledger
from shared.bus.routes import queue
from shared.contracts.events import ChunkIndexed, ChunkLoaded, DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection
from shared.telemetry import metrics

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100


async def prepare_documents(event: DatasetDeclared, db: Connection) -> None:
    """A searchable dataset can be searched before its first row is there."""
    dataset = await ledger.select_dataset(db, event.dataset)
    if dataset.search is not None:
        await queries.create_documents(db, dataset)


async def index_chunk(event: ChunkLoaded, db: Connection) -> ChunkIndexed | None:
    """Makes the chunk's rows searchable; for a dataset without search nobody waits."""
    dataset = await ledger.select_dataset(db, event.dataset)
    documents = 0
    wrote = event.outcome.inserted + event.outcome.updated + event.outcome.duplicates
    if dataset.search is not None and wrote + event.outcome.deleted:
        await queries.create_documents(db, dataset)
        documents = await queries.insert_documents(db, dataset, dataset.search, event)
        if event.outcome.deleted:
            await queries.delete_documents(db, dataset, event.ledger)
    await queries.insert_indexed(db, event.ledger, documents)
    if dataset.search is None:
        return None
    metrics.DOCUMENTS.labels(event.dataset).inc(documents)
    return ChunkIndexed(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, documents=documents)


async def resend_unindexed(db: Connection) -> list[tuple[str, Message]]:
    """Chunks whose event is lost: the ingestor's ledger and ours tell."""
    events = await ledger.select_undone(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    return [(queue("indexer", ChunkLoaded), event) for event in events]
