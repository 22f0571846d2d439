"""Queries about the documents of a generation, and the tables of a generation."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.indexer.documents import tokens, vectors, vocabulary
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.catalog import kinds
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.search.columns import columns
from shared.search.index import Index

INDEX_SECONDS = 600.0
ROWS_AT_ONCE = 25_000
"""Rows in memory. A chunk has fewer, unless it replaces a whole table."""


async def create_tables(db: Connection, index: Index, dataset: Dataset) -> None:
    """Creates the empty tables of a generation."""
    types = _types(dataset)
    keys = _quote(dataset.key)
    key_columns = ", ".join(f'"{name}" {types[name]} NOT NULL' for name in dataset.key)
    # Words are compared as bytes: an index in this order finds words by prefix.
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
            ALTER occurrences SET STORAGE EXTERNAL; -- too short-lived to compress
        """
    )


async def drop_tables(db: Connection, index: Index) -> None:
    """Drops the tables of a generation. Waits for searches that read them."""
    await db.execute(f"DROP TABLE {index.documents}, {index.words}, {index.deltas}")


async def index_rows(
    db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int], cache: VocabularyCache
) -> int:
    """Upserts documents for the rows that these chunks wrote and no later chunk has changed; inserts their words.

    A document of a newer version stays. Counts change by all rows that the chunks wrote, even if replaced since, minus
    the rows that they replaced: so chunks may come in any order. Returns the number of written documents.
    """
    labels = [index.label(name) for name in index.search.fields]
    written = 0
    pending = []
    async for rows in _select_rows(db, index, dataset, ledgers):
        current = [row for row in rows if row["_version"] is not None]
        replaced = [row for row in rows if row["_version"] is None and row["_sign"] > 0]
        removed = [row for row in rows if row["_sign"] < 0]
        texts = [_by_field(index, group) for group in (current, replaced, removed)]
        documents, deltas = await asyncio.to_thread(_tokenize, texts, labels, len(current))
        written += await _upsert_documents(db, index, dataset, current, documents)
        pending.append(deltas)
    # Close to the commit: other transactions with the same new words wait for it.
    inserted: set[str] = set()
    for deltas in pending:
        inserted |= await vocabulary.insert_words(db, index, deltas.words, cache, inserted)
        await vocabulary.insert_deltas(db, index, deltas, written)
    return written


async def delete_rows(db: Connection, index: Index, dataset: Dataset, ledger: int) -> None:
    """Deletes documents of rows that the chunk deleted and no later chunk has inserted again."""
    table = f'data."{dataset.name}"'
    same_key = {name: " AND ".join(f'{name}."{key}" = d."{key}"' for key in dataset.key) for name in ("old", "t")}
    await db.execute(
        f"""
        DELETE FROM {index.documents} d
        USING ingestor.replaced r, jsonb_populate_record(NULL::{table}, r.row) old
        WHERE r.dataset = $1 AND r.ledger = $2 AND {same_key["old"]}
          AND NOT EXISTS (SELECT FROM {table} t WHERE {same_key["t"]})
        """,
        dataset.name,
        ledger,
        timeout=INDEX_SECONDS,
    )


async def flush_pending_list(db: Connection, index: Index) -> None:
    """Merges the pending list of the GIN index, which every search scans. Cheap if it is empty."""
    await db.execute("SELECT gin_clean_pending_list($1::text::regclass)", index.gin_index, timeout=INDEX_SECONDS)


async def analyze(db: Connection, index: Index) -> None:
    """Updates the statistics, from which searches know the number of documents."""
    await db.execute(f"ANALYZE {index.documents}; ANALYZE {index.words}", timeout=INDEX_SECONDS)


async def _select_rows(
    db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int]
) -> AsyncIterator[list[Any]]:
    """Yields rows in batches of one snapshot: a row that is replaced in the meantime is seen exactly once."""
    table = f'data."{dataset.name}"'
    fields = _quote((*dataset.key, *(name for name in index.search.fields if name not in dataset.key)), "x")
    before_images = f"ingestor.replaced p, jsonb_populate_record(NULL::{table}, p.row) x WHERE p.dataset = $2 AND"
    cursor = await db.cursor(
        f"""
        SELECT 1 AS _sign, c.version AS _version, {fields}
        FROM {table} x JOIN ingestor.chunks c ON c.ledger = x._chunk WHERE x._chunk = ANY($1)
        UNION ALL SELECT 1, NULL, {fields} FROM {before_images} p.was = ANY($1)
        UNION ALL SELECT -1, NULL, {fields} FROM {before_images} p.ledger = ANY($1)
        """,
        ledgers,
        dataset.name,
        timeout=INDEX_SECONDS,
    )
    while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=INDEX_SECONDS):
        yield rows


async def _upsert_documents(
    db: Connection, index: Index, dataset: Dataset, rows: list[Any], documents: list[bytes]
) -> int:
    keys = _quote(dataset.key)
    types = _types(dataset)
    arrays = ", ".join(f"${number}::{types[name]}[]" for number, name in enumerate(dataset.key, 3))
    is_bulk = len(rows) > vocabulary.BULK_SIZE
    # New entries of a GIN index go to its pending list, which every search scans: it must stay small. But merging it
    # costs by different words, which many documents share: a bulk is merged at once.
    pending, memory = ("128MB", "256MB") if is_bulk else ("256kB", "4MB")
    await db.execute(f"SET LOCAL gin_pending_list_limit = '{pending}'; SET LOCAL work_mem = '{memory}'")
    status = await db.execute(
        f"""
        INSERT INTO {index.documents} AS d (_version, _words, {keys})
        SELECT v, w, {keys} FROM unnest($1::bigint[], $2::tsvector[], {arrays}) AS n (v, w, {keys}) ORDER BY {keys}
        ON CONFLICT ({keys}) DO UPDATE SET _version = excluded._version, _words = excluded._words
        WHERE d._version < excluded._version
        """,
        [row["_version"] for row in rows],
        documents,
        *([row[name] for row in rows] for name in dataset.key),
        timeout=INDEX_SECONDS,
    )
    return int(status.split()[-1])


def _tokenize(
    texts: Sequence[tokens.FieldTexts], labels: Sequence[str], rows: int
) -> tuple[list[bytes], tokens.CountDeltas]:
    """Returns the documents of the current rows, and the deltas: plus current and replaced rows, minus removed rows."""
    current, replaced, removed = map(tokens.build_postings, texts)
    deltas = tokens.build_deltas([current, replaced], removed)
    return vectors.build_tsvectors(tokens.truncate(current), labels, rows), deltas


def _by_field(index: Index, rows: list[Any]) -> dict[str, list[str | None]]:
    return {name: [row[name] for row in rows] for name in index.search.fields}


def _types(dataset: Dataset) -> dict[str, str]:
    return {name: kinds.sql(field.type) for name, field in columns(dataset).items()}


def _quote(names: tuple[str, ...], table: str = "") -> str:
    return ", ".join(f'{table}."{name}"' if table else f'"{name}"' for name in names)
