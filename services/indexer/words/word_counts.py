"""Periodic task that merges word counts, apart from indexing: frequent words would make all chunks wait for a lock."""

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.words import lookup
from shared.db import Connection, Pool, transaction

EVERY_SECONDS = 1.0
FEW_WORDS = 20_000
"""Deltas with up to so many words are merged at once. Larger ones wait for the end of an import, to be merged once."""
MAX_CHUNKS = 32
"""Chunks whose deltas wait, at most."""


async def run(pool: Pool) -> int:
    """Merges the counts of all datasets, then requests definitions of the words that are frequent now."""
    async with pool.acquire() as db:
        datasets = await queries.select_uncounted(db)
    for dataset in datasets:
        async with transaction(pool) as db:
            await merge(db, dataset)
    return await lookup.run(pool) if datasets else 0


async def merge(db: Connection, dataset: str) -> None:
    """Merges the counts of a dataset, unless another transaction does so or a large import goes on."""
    if not await queries.try_lock_counts(db, dataset):
        return
    is_importing = await queries.has_import(db, dataset)
    # The following statements see the deltas of everything up to this version.
    version = await queries.select_indexed_version(db, dataset)
    for index in await queries.select_indexes(db, dataset):
        pending = await vocabulary.select_pending(db, index)
        if is_importing and pending.words > FEW_WORDS and pending.chunks < MAX_CHUNKS:
            return
        if pending.chunks:
            await queries.add_word_count(db, index, await vocabulary.merge_deltas(db, index))
        if pending.is_bulk:
            await documents.flush_pending_list(db, index)
        if pending.words > FEW_WORDS:
            await documents.analyze(db, index)
    await queries.set_counted(db, dataset, version)
