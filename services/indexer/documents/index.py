"""Indexes a loaded chunk: writes the documents of its rows in every generation of the index."""

from services.indexer.documents import documents, queries
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.bus.failures import NotReady
from shared.contracts.events import ChunkIndexed, ChunkLoaded
from shared.db import Connection
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.telemetry import metrics


async def index_chunk(event: ChunkLoaded, db: Connection, cache: VocabularyCache) -> ChunkIndexed | None:
    """Makes the chunk's rows searchable, once. Returns None for a dataset without search.

    A generation that is being built has the chunk already if it was loaded before. Raises NotReady if that is the
    dataset's only one, or if there is none yet.
    """
    deletes = event.outcome.deleted > 0
    # Lock before reading the declaration: a new generation must know which generations contain this chunk.
    await queries.lock_documents(db, event.dataset, exclusive=deletes)
    dataset = await select_dataset(db, event.dataset)
    wrote = event.outcome.inserted + event.outcome.updated + event.outcome.duplicates
    written = 0
    if dataset.search is not None and (wrote or deletes) and not await queries.is_indexed(db, event.ledger):
        indexes = [index for index in await queries.select_indexes(db, event.dataset) if event.version > index.version]
        if not indexes:
            raise NotReady
        for index in indexes:
            written = await documents.index_rows(db, index, dataset, [event.ledger], cache)
            if deletes:
                await documents.delete_rows(db, index, dataset, event.ledger)
    await queries.insert_chunk(db, event.ledger, written)
    if dataset.search is None:
        return None
    await update_freshness(db, event.dataset, "indexed")
    metrics.DOCUMENTS.labels(event.dataset).inc(written)
    return ChunkIndexed(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, documents=written)
