"""Queries about the vocabulary of a generation: its words, and the deltas of their counts."""

from typing import NamedTuple

from services.indexer.documents.tokens import CountDeltas
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.db import Connection
from shared.search import tokenizer
from shared.search.index import Index

MERGE_SECONDS = 600.0
BULK_SIZE = 1000
"""Chunks with more documents, or statements with more words, are executed with bulk settings."""


class PendingDeltas(NamedTuple):
    """The number of chunks with unmerged deltas, and of the words in these.

    `is_bulk` if a chunk had so many documents that the GIN index holds them in its pending list.
    """

    chunks: int
    words: int
    is_bulk: bool


async def select_identity(db: Connection, index: Index) -> str:
    """Returns a key for the cache, which changes when the table is truncated or restored from a backup."""
    identity: str = await db.fetchval(
        "SELECT format('%s %s %s', $1::text, pg_relation_filenode($1::text::regclass), pg_postmaster_start_time())",
        index.words,
    )
    return identity


async def insert_words(
    db: Connection, index: Index, words: list[str], cache: VocabularyCache, uncommitted: set[str]
) -> set[str]:
    """Inserts and returns the words that the vocabulary lacks. The cache gets those that were already committed.

    `uncommitted` are words that this transaction has inserted before: a rollback would remove them.
    """
    vocabulary = await select_identity(db, index)
    missing = cache.missing(vocabulary, words)
    if not missing:
        return set()
    is_bulk = len(missing) > BULK_SIZE
    if is_bulk:
        # Without statistics, Postgres takes a new vocabulary for empty and would look up each word in a nested loop.
        await db.execute("SET LOCAL enable_nestloop = off")
    rows = await db.fetch(
        f"""
        INSERT INTO {index.words} (word, lexeme, documents, occurrences)
        SELECT n.word, coalesce((ts_lexize($3::text::regdictionary, n.folded))[1], n.folded), 0, 0
        FROM unnest($1::text[], $2::text[]) AS n (word, folded)
        WHERE NOT EXISTS (SELECT FROM {index.words} w WHERE w.word = n.word)
        ORDER BY n.word COLLATE "C" ON CONFLICT DO NOTHING RETURNING word
        """,
        missing,
        tokenizer.fold_accents(missing),
        index.search.stemmer,
        timeout=MERGE_SECONDS,
    )
    if is_bulk:
        await db.execute("SET LOCAL enable_nestloop = on")
    inserted = {row["word"] for row in rows}
    cache.add(vocabulary, (word for word in missing if word not in inserted and word not in uncommitted))
    return inserted


async def insert_deltas(db: Connection, index: Index, deltas: CountDeltas, written: int) -> None:
    """Inserts the deltas of a chunk, which are merged later. `written` is the number of its documents."""
    if not deltas.words:
        return
    await db.execute(
        f"INSERT INTO {index.deltas} (written, words, documents, occurrences) VALUES ($1, $2, $3, $4)",
        written,
        deltas.words,
        deltas.documents,
        deltas.occurrences,
    )


async def merge_deltas(db: Connection, index: Index) -> int:
    """Merges all pending deltas into the vocabulary. Returns the change in the number of words with occurrences."""
    change: int = await db.fetchval(
        f"""
        WITH news AS (DELETE FROM {index.deltas} RETURNING *), summed AS (
            SELECT word, sum(n.documents)::bigint AS documents, sum(n.occurrences)::bigint AS occurrences
            FROM news, unnest(news.words, news.documents, news.occurrences) AS n (word, documents, occurrences)
            GROUP BY word
        ), counted AS (
            UPDATE {index.words} w
            SET documents = w.documents + s.documents, occurrences = w.occurrences + s.occurrences
            FROM summed s WHERE w.word = s.word RETURNING w.occurrences AS now, s.occurrences AS more
        )
        SELECT count(*) FILTER (WHERE now > 0 AND now = more) - count(*) FILTER (WHERE now = 0 AND more < 0)
        FROM counted
        """,
        timeout=MERGE_SECONDS,
    )
    return change


async def select_pending(db: Connection, index: Index) -> PendingDeltas:
    """Counts the committed deltas that are not merged yet."""
    row = await db.fetchrow(
        f"""
        SELECT count(*) AS chunks, coalesce(sum(cardinality(words)), 0) AS words,
               coalesce(max(written), 0) AS written
        FROM {index.deltas}
        """
    )
    return (
        PendingDeltas(row["chunks"], row["words"], row["written"] > BULK_SIZE)
        if row
        else PendingDeltas(0, 0, is_bulk=False)
    )
