"""Queries of the vocabulary of a generation's documents: its words, and how often they stand where."""

from typing import NamedTuple

from services.indexer.documents.tokens import Counts
from services.indexer.documents.vocabulary_cache import Known
from shared.db import Connection
from shared.search import tokenizer
from shared.search.index import Index

FOLD_SECONDS = 600.0
MANY = 1000
"""Documents, or words: so many are dealt with together, and not one by one."""


class News(NamedTuple):
    """Chunks that wait to be brought into the vocabulary, and the words that they have together.

    `gathered` says that one of them had so many documents that they were not brought into the index one by one.
    """

    chunks: int
    words: int
    gathered: bool


async def identify(db: Connection, index: Index) -> str:
    """The vocabulary, and no other of its name: one that was emptied by hand, or brought back from a backup."""
    identity: str = await db.fetchval(
        "SELECT format('%s %s %s', $1::text, pg_relation_filenode($1::text::regclass), pg_postmaster_start_time())",
        index.words,
    )
    return identity


async def insert_words(db: Connection, index: Index, given: list[str], known: Known, fresh: set[str]) -> set[str]:
    """The vocabulary has them all, and new ones before their documents can be found. Returns those that it lacked.

    What is `fresh`, the transaction has inserted before: if it fails, they are gone again.
    """
    itself = await identify(db, index)
    missing = known.missing(itself, given)
    if not missing:
        return set()
    many = len(missing) > MANY
    if many:
        # Of a young vocabulary Postgres doesn't know that it is no longer empty: it would look up every word by itself.
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
        timeout=FOLD_SECONDS,
    )
    if many:
        await db.execute("SET LOCAL enable_nestloop = on")
    inserted = {row["word"] for row in rows}
    known.learn(itself, (word for word in missing if word not in inserted and word not in fresh))
    return inserted


async def insert_news(db: Connection, index: Index, counts: Counts, written: int) -> None:
    """Counts follow by and by. So many documents were `written`."""
    if not counts.words:
        return
    await db.execute(
        f"INSERT INTO {index.deltas} (written, words, documents, occurrences) VALUES ($1, $2, $3, $4)",
        written,
        counts.words,
        counts.documents,
        counts.occurrences,
    )


async def fold_news(db: Connection, index: Index) -> int:
    """Brings what was added to the counts into the vocabulary. Returns how many more words there are."""
    words: int = await db.fetchval(
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
        timeout=FOLD_SECONDS,
    )
    return words


async def count_news(db: Connection, index: Index) -> News:
    """As far as it is committed."""
    row = await db.fetchrow(
        f"""
        SELECT count(*) AS chunks, coalesce(sum(cardinality(words)), 0) AS words,
               coalesce(max(written), 0) AS written
        FROM {index.deltas}
        """
    )
    return News(row["chunks"], row["words"], row["written"] > MANY) if row else News(0, 0, gathered=False)
