"""Tables of an index generation: creates and drops them, writes and deletes documents."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.indexer.documents import tokens, vectors, vocabulary
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.catalog import field_types
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.reads.ingestor.tables import CHUNKS, before_images, data_table
from shared.search.columns import columns

INDEX_SECONDS = 600.0
ROWS_AT_ONCE = 25_000
"""Rows in memory. Only the swap of a whole table has more in one chunk."""


async def create_tables(db: Connection, index: Index, dataset: Dataset) -> None:
    """Creates empty tables for documents, words and deltas of word counts."""
    types = _types(dataset)
    keys = _quoted(dataset.key)
    key_columns = ", ".join(f'"{name}" {types[name]} NOT NULL' for name in dataset.key)
    # Collation "C" orders words by bytes, so that the index finds words by prefix.
    await db.execute(
        f"""
        CREATE TABLE {index.documents} (
            {key_columns}, _version bigint NOT NULL, _words tsvector NOT NULL, PRIMARY KEY ({keys})
        );
        CREATE INDEX {index.gin_index.partition(".")[2]} ON {index.documents} USING gin (_words);
        CREATE TABLE {index.words} (
            word text COLLATE "C" PRIMARY KEY, lexeme text COLLATE "C" NOT NULL,
            documents bigint NOT NULL, occurrences bigint NOT NULL
        );
        CREATE INDEX ON {index.words} (lexeme);
        CREATE INDEX ON {index.words} (occurrences DESC, word);
        CREATE TABLE {index.deltas} (
            written bigint NOT NULL, words text[] NOT NULL, documents bigint[] NOT NULL, occurrences bigint[] NOT NULL
        );
        ALTER TABLE {index.deltas} ALTER words SET STORAGE EXTERNAL, ALTER documents SET STORAGE EXTERNAL,
            ALTER occurrences SET STORAGE EXTERNAL; -- too short-lived to be worth compression
        """
    )


async def drop_tables(db: Connection, index: Index) -> None:
    """Drops all tables; waits for their readers."""
    await db.execute(f"DROP TABLE {index.documents}, {index.words}, {index.deltas}")


async def index_rows(
    db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int], cache: VocabularyCache
) -> Counter[int]:
    """Writes the documents of these chunks' current rows, and the deltas of their words.

    Returns how many documents each chunk wrote, by the version of the dataset that the chunk made.
    Newer documents are kept. Word counts work like rollups: plus all rows that the chunks wrote, even if later chunks
    replaced them, minus the before-images of rows that they replaced. So chunks may be indexed in any order.
    """
    labels = [index.label(name) for name in index.search.fields]
    written: Counter[int] = Counter()
    deltas = []
    async for rows in _select_rows(db, index, dataset, ledgers):
        current = [row for row in rows if row["_version"] is not None]
        replaced = [row for row in rows if row["_version"] is None and row["_sign"] > 0]
        removed = [row for row in rows if row["_sign"] < 0]
        texts = [_by_field(index, part) for part in (current, replaced, removed)]
        documents, counts = await asyncio.to_thread(_tokenize, texts, labels, len(current))
        written += await _upsert_documents(db, index, dataset, current, documents)
        deltas.append(counts)
    # Last, near the commit: concurrent transactions with the same new words wait for it.
    uncommitted: set[str] = set()
    for counts in deltas:
        uncommitted |= await vocabulary.insert_words(db, index, counts.words, cache, uncommitted)
        await vocabulary.insert_deltas(db, index, counts, written.total())
    return written


async def delete_rows(db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int]) -> None:
    """Deletes the documents of rows that these chunks deleted and that do not exist again."""
    table = data_table(dataset.name)
    same = {name: " AND ".join(f'{name}."{key}" = d."{key}"' for key in dataset.key) for name in ("old", "t")}
    await db.execute(
        f"""
        DELETE FROM {index.documents} d
        USING {before_images(dataset.name, "old")}
        WHERE r.dataset = $1 AND r.ledger = ANY($2) AND {same["old"]}
          AND NOT EXISTS (SELECT FROM {table} t WHERE {same["t"]})
        """,
        dataset.name,
        ledgers,
        timeout=INDEX_SECONDS,
    )


async def merge_pending_list(db: Connection, index: Index) -> None:
    """Merges GIN's pending list, which every search scans, into the index; cheap if it is empty."""
    await db.execute("SELECT gin_clean_pending_list($1::text::regclass)", index.gin_index, timeout=INDEX_SECONDS)


async def analyze(db: Connection, index: Index) -> None:
    """Updates the statistics, from which searches estimate the number of documents."""
    await db.execute(f"ANALYZE {index.documents}; ANALYZE {index.words}", timeout=INDEX_SECONDS)


async def _select_rows(
    db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int]
) -> AsyncIterator[list[Any]]:
    """Yields batches from one snapshot, so that a row that is replaced in the meantime is read exactly once."""
    named = _quoted((*dataset.key, *(name for name in index.search.fields if name not in dataset.key)), "x")
    old = f"{before_images(dataset.name, 'x')} WHERE r.dataset = $2 AND"
    cursor = await db.cursor(
        f"""
        SELECT 1 AS _sign, c.version AS _version, {named}
        FROM {data_table(dataset.name)} x JOIN {CHUNKS} c ON c.ledger = x._chunk WHERE x._chunk = ANY($1)
        UNION ALL SELECT 1, NULL, {named} FROM {old} r.was = ANY($1)
        UNION ALL SELECT -1, NULL, {named} FROM {old} r.ledger = ANY($1)
        """,
        ledgers,
        dataset.name,
        timeout=INDEX_SECONDS,
    )
    while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=INDEX_SECONDS):
        yield rows


async def _upsert_documents(
    db: Connection, index: Index, dataset: Dataset, rows: list[Any], documents: list[bytes]
) -> Counter[int]:
    keys = _quoted(dataset.key)
    types = _types(dataset)
    arrays = ", ".join(f"${number}::{types[name]}[]" for number, name in enumerate(dataset.key, 3))
    bulk = len(rows) > vocabulary.BULK_SIZE
    # GIN collects new entries in a pending list. Searches scan it, so it must stay short; but merging a long one is
    # cheaper per document, since the cost depends on its distinct words.
    limit, memory = ("128MB", "256MB") if bulk else ("256kB", "4MB")
    await db.execute(f"SET LOCAL gin_pending_list_limit = '{limit}'; SET LOCAL work_mem = '{memory}'")
    counts = await db.fetch(
        f"""
        WITH written AS (
            INSERT INTO {index.documents} AS d (_version, _words, {keys})
            SELECT v, w, {keys} FROM unnest($1::bigint[], $2::tsvector[], {arrays}) AS n (v, w, {keys}) ORDER BY {keys}
            ON CONFLICT ({keys}) DO UPDATE SET _version = excluded._version, _words = excluded._words
            WHERE d._version < excluded._version
            RETURNING _version
        )
        SELECT _version, count(*) FROM written GROUP BY 1
        """,
        [row["_version"] for row in rows],
        documents,
        *([row[name] for row in rows] for name in dataset.key),
        timeout=INDEX_SECONDS,
    )
    return Counter({row["_version"]: row["count"] for row in counts})


def _tokenize(texts: Sequence[tokens.Texts], labels: Sequence[str], rows: int) -> tuple[list[bytes], tokens.WordCounts]:
    """Returns the documents of the current rows, and word counts: current and replaced rows minus removed ones."""
    current, replaced, removed = map(tokens.tokenize, texts)
    counts = tokens.count_words([current, replaced], removed)
    return vectors.encode(tokens.truncate(current), labels, rows), counts


def _by_field(index: Index, rows: list[Any]) -> dict[str, list[str | None]]:
    return {name: [row[name] for row in rows] for name in index.search.fields}


def _types(dataset: Dataset) -> dict[str, str]:
    return {name: field_types.find(field.type).sql for name, field in columns(dataset).items()}


def _quoted(names: tuple[str, ...], table: str = "") -> str:
    return ", ".join(f'{table}."{name}"' if table else f'"{name}"' for name in names)
