"""What the indexer decides: which rows become documents, of which generation."""

from services.indexer.documents import documents, queries
from services.indexer.documents.vocabulary_cache import Known
from shared import ledger
from shared.bus.failures import NotReady
from shared.contracts.events import ChunkIndexed, ChunkLoaded
from shared.db import Connection
from shared.telemetry import metrics


async def index_chunk(event: ChunkLoaded, db: Connection, known: Known) -> ChunkIndexed | None:
    """Makes the chunk's rows searchable, in every generation; for a dataset without search nobody waits."""
    deletes = event.outcome.deleted > 0
    # Before the declaration is read: whoever makes a generation after another one must know what this chunk went into.
    await queries.lock_documents(db, event.dataset, alone=deletes)
    dataset = await ledger.select_dataset(db, event.dataset)
    wrote = event.outcome.inserted + event.outcome.updated + event.outcome.duplicates
    written = 0
    if dataset.search is not None and (wrote or deletes) and not await queries.is_indexed(db, event.ledger):
        indexes = await queries.select_indexes(db, event.dataset)
        if not indexes:
            raise NotReady  # until what was declared a moment ago has its tables
        for index in indexes:
            written = await documents.insert_rows(db, index, dataset, [event.ledger], known)
            if deletes:
                await documents.delete_rows(db, index, dataset, event.ledger)
    await queries.insert_indexed(db, event.ledger, written)
    if dataset.search is None:
        return None
    await ledger.update_freshness(db, event.dataset, "indexed")
    metrics.DOCUMENTS.labels(event.dataset).inc(written)
    return ChunkIndexed(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, documents=written)
