"""Queries about the vocabulary of an index generation: its words with their counts, and deltas to be merged."""

from typing import NamedTuple

from services.indexer.documents.tokens import WordCounts
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.search import tokenizer

MERGE_SECONDS = 600.0
BULK_SIZE = 1000
"""More documents, or words, than this use the plans and limits for bulk work."""

HASH = ("nestloop",)
LOOK_UP = ("seqscan", "hashjoin", "mergejoin")
"""What a plan does without: one that reads the whole vocabulary, and one that looks up each word."""


class PendingDeltas(NamedTuple):
    """The numbers of chunks and words whose deltas are not merged; `bulk` if a chunk left documents pending in GIN."""

    chunks: int
    words: int
    bulk: bool


async def select_vocabulary_id(db: Connection, index: Index) -> str:
    """Returns an id of the vocabulary's contents, which changes if they are truncated or restored from a backup."""
    vocabulary_id: str = await db.fetchval(
        "SELECT format('%s %s %s', $1::text, pg_relation_filenode($1::text::regclass), pg_postmaster_start_time())",
        index.words,
    )
    return vocabulary_id


async def insert_words(
    db: Connection, index: Index, new_words: list[str], cache: VocabularyCache, uncommitted: set[str]
) -> set[str]:
    """Inserts words that the vocabulary lacks; returns them. They are committed together with their documents.

    `uncommitted` are words that this transaction inserted before. They are not cached, since it may roll back.
    """
    vocabulary_id = await select_vocabulary_id(db, index)
    missing = cache.missing(vocabulary_id, new_words)
    if not missing:
        return set()
    bulk = len(missing) > BULK_SIZE
    if bulk:
        # Statistics of a new vocabulary still say that it is empty, and Postgres would look up each word separately.
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
    if bulk:
        await db.execute("SET LOCAL enable_nestloop = on")
    inserted = {row["word"] for row in rows}
    cache.add(vocabulary_id, (word for word in missing if word not in inserted and word not in uncommitted))
    return inserted


async def insert_deltas(db: Connection, index: Index, counts: WordCounts, written: int) -> None:
    """Inserts deltas of the word counts, to be merged later. `written` is the number of documents."""
    if not counts.words:
        return
    await db.execute(
        f"INSERT INTO {index.deltas} (written, words, documents, occurrences) VALUES ($1, $2, $3, $4)",
        written,
        counts.words,
        counts.documents,
        counts.occurrences,
    )


async def merge_deltas(db: Connection, index: Index, words: int) -> int:
    """Merges all deltas, of about `words` words; returns by how much the number of words in use changed."""
    # Postgres keeps a plan that suited a small vocabulary: both plans are fixed, each with a text of its own.
    bulk = words > BULK_SIZE
    await db.execute("; ".join(f"SET LOCAL enable_{name} = off" for name in (HASH if bulk else LOOK_UP)))
    changed: int = await db.fetchval(
        f"""
        /* {"bulk" if bulk else "few"} */ WITH news AS (DELETE FROM {index.deltas} RETURNING *), summed AS (
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
    await db.execute("; ".join(f"SET LOCAL enable_{name} TO DEFAULT" for name in (*HASH, *LOOK_UP)))
    return changed


async def count_deltas(db: Connection, index: Index) -> PendingDeltas:
    """Counts the committed deltas."""
    row = await db.fetchrow(
        f"""
        SELECT count(*) AS chunks, coalesce(sum(cardinality(words)), 0) AS words,
               coalesce(max(written), 0) AS written
        FROM {index.deltas}
        """
    )
    if row is None:
        return PendingDeltas(0, 0, bulk=False)
    return PendingDeltas(row["chunks"], row["words"], bulk=row["written"] > BULK_SIZE)
