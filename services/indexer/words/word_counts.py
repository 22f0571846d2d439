"""Keeps the counts of words current, apart from indexing: a word that is everywhere would make all chunks wait."""

import structlog

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.words import lookup
from shared.db import Connection, Pool, transaction

EVERY_SECONDS = 1.0
FEW_WORDS = 20_000
"""Are counted at once. More, while an import goes on, wait for what follows: the big work is done once for all."""
MANY_CHUNKS = 32
log = structlog.get_logger()


async def run(pool: Pool) -> int:
    """Counts what is not counted, and asks for definitions of the words that are frequent then."""
    async with pool.acquire() as db:
        waiting = await queries.select_uncounted(db)
    for dataset in waiting:
        async with transaction(pool) as db:
            await count(db, dataset)
    return await lookup.run(pool) if waiting else 0


async def count(db: Connection, dataset: str) -> None:
    """Brings what was added into the vocabulary, unless somebody else is at it or more is about to come."""
    if not await queries.lock_words(db, dataset):
        return
    more = await queries.has_more_to_come(db, dataset)
    # What everything up to this version has added is there to be seen by the statements that follow.
    version = await queries.select_indexed(db, dataset)
    for index in await queries.select_indexes(db, dataset):
        news = await vocabulary.count_news(db, index)
        if more and news.words > FEW_WORDS and news.chunks < MANY_CHUNKS:
            return
        if news.chunks:
            await queries.update_words(db, index, await vocabulary.fold_news(db, index))
        if news.gathered:
            await documents.bring_in(db, index)
        if news.words > FEW_WORDS:
            await documents.analyze(db, index)
    await queries.update_counted(db, dataset, version)
