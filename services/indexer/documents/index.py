"""Indexes loaded chunks: writes the documents of their rows in every generation of the index."""

from collections.abc import Sequence

from services.indexer.documents import documents, queries
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.bus.failures import NotReady
from shared.catalog.dataset import Dataset
from shared.contracts.events import ChunkIndexed, ChunkLoaded
from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.reads.ingestor.chunks import by_dataset, update_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.telemetry import metrics


async def index_chunks(events: Sequence[ChunkLoaded], db: Connection, cache: VocabularyCache) -> list[ChunkIndexed]:
    """Makes the rows of the chunks searchable, once. Answers every chunk, also one of a dataset without search.

    A generation that is being built has a chunk already if it was loaded before. Raises NotReady if that is the
    dataset's only one, or if there is none yet.
    """
    written: dict[int, int] = {}
    searched = []
    for name, chunks in by_dataset(events).items():
        # Lock before reading the declaration: a new generation must know which generations contain these chunks.
        await queries.lock_documents(db, name, exclusive=any(event.outcome.deleted for event in chunks))
        dataset = await select_dataset(db, name)
        documents_by_ledger = dict.fromkeys((event.ledger for event in chunks), 0)
        if dataset.search is not None:
            searched.append(name)
            documents_by_ledger |= await _index(db, dataset, chunks, cache)
        await queries.insert_chunks(db, documents_by_ledger)
        written |= documents_by_ledger
    for name in searched:
        await update_freshness(db, name, "indexed")
    for event in events:
        metrics.DOCUMENTS.labels(event.dataset).inc(written[event.ledger])
    return [
        ChunkIndexed(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, documents=written[event.ledger])
        for event in events
    ]


async def _index(
    db: Connection, dataset: Dataset, events: Sequence[ChunkLoaded], cache: VocabularyCache
) -> dict[int, int]:
    """Indexes the chunks that are not indexed yet; returns how many documents each wrote, by ledger number."""
    changing = [event for event in events if event.row_count]
    if not changing:
        return {}
    indexed = await queries.select_indexed_chunks(db, [event.ledger for event in changing])
    pending = [event for event in changing if event.ledger not in indexed]
    if not pending:
        return {}
    indexes = await queries.select_indexes(db, dataset.name)
    if not indexes or min(event.version for event in pending) <= min(index.version for index in indexes):
        raise NotReady
    written: dict[int, int] = {}
    for index in indexes:
        if taken := [event for event in pending if event.version > index.version]:
            written |= await _write(db, index, dataset, taken, cache)
    return written


async def _write(
    db: Connection, index: Index, dataset: Dataset, events: Sequence[ChunkLoaded], cache: VocabularyCache
) -> dict[int, int]:
    by_version = await documents.index_rows(db, index, dataset, [event.ledger for event in events], cache)
    if deleting := [event.ledger for event in events if event.outcome.deleted]:
        await documents.delete_rows(db, index, dataset, deleting)
    return {event.ledger: by_version[event.version] for event in events}
