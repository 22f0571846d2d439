"""Keeps word counts up to date, apart from indexing: all chunks would wait for the rows of frequent words."""

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.words import lookup
from shared.db import Connection, Pool, transaction

EVERY_SECONDS = 1.0
BULK_WORDS = 20_000
"""Larger deltas wait for more chunks while an import runs, since one large merge is cheaper than several."""
BULK_CHUNKS = 32
"""Deltas of at least this many chunks do not wait."""


async def run(pool: Pool) -> int:
    """Merges the deltas of word counts, then looks up definitions of words that have become frequent."""
    async with pool.acquire() as db:
        datasets = await queries.select_uncounted(db)
    for dataset in datasets:
        async with transaction(pool) as db:
            await count(db, dataset)
    return await lookup.run(pool) if datasets else 0


async def count(db: Connection, dataset: str) -> None:
    """Merges the deltas of a dataset, unless another transaction does or a running import will add more."""
    if not await queries.lock_words(db, dataset):
        return
    importing = await queries.is_importing(db, dataset)
    # Read before the deltas: the following statements see all deltas up to this version.
    version = await queries.select_indexed(db, dataset)
    for index in await queries.select_indexes(db, dataset):
        deltas = await vocabulary.count_deltas(db, index)
        if importing and deltas.words > BULK_WORDS and deltas.chunks < BULK_CHUNKS:
            return
        if deltas.chunks:
            await queries.update_words(db, index, await vocabulary.merge_deltas(db, index, deltas.words))
        if deltas.bulk:
            await documents.merge_pending_list(db, index)
        if deltas.words > BULK_WORDS:
            await documents.analyze(db, index)
    await queries.update_counted(db, dataset, version)
