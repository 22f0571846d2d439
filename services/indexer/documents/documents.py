"""Queries of the tables that are made for a generation: documents, and the vocabulary of their words."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.indexer.documents import tokens, vectors, vocabulary
from services.indexer.documents.vocabulary_cache import Known
from shared.catalog import kinds
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.search.columns import columns
from shared.search.index import Index

INDEX_SECONDS = 600.0
ROWS_AT_ONCE = 25_000
"""Are in memory: a chunk has less, unless it is the swap of a whole table."""


async def create_tables(db: Connection, index: Index, dataset: Dataset) -> None:
    """Empty ones."""
    types = _types(dataset)
    keys = _quoted(dataset.key)
    key_columns = ", ".join(f'"{name}" {types[name]} NOT NULL' for name in dataset.key)
    # Words are compared as bytes: that order finds those that begin alike.
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
            ALTER occurrences SET STORAGE EXTERNAL; -- they are gone too soon for squeezing them
        """
    )


async def drop_tables(db: Connection, index: Index) -> None:
    """Waits for those who read them."""
    await db.execute(f"DROP TABLE {index.documents}, {index.words}, {index.deltas}")


async def insert_rows(db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int], known: Known) -> int:
    """Documents of the rows that these chunks wrote and nobody has rewritten since, and all their words.

    A newer document is left alone. Words are counted as rollups count: what the chunks wrote, though it be replaced
    since, less what they replaced; so chunks may come in any order. Returns how many documents were written.
    """
    labels = [index.label(name) for name in index.search.fields]
    written = 0
    counted = []
    async for rows in _select_rows(db, index, dataset, ledgers):
        standing = [row for row in rows if row["_version"] is not None]
        replaced = [row for row in rows if row["_version"] is None and row["_sign"] > 0]
        removed = [row for row in rows if row["_sign"] < 0]
        told = [_by_field(index, some) for some in (standing, replaced, removed)]
        documents, counts = await asyncio.to_thread(_read, told, labels, len(standing))
        written += await _insert_documents(db, index, dataset, standing, documents)
        counted.append(counts)
    # Near the commit: others with the same new words wait for it.
    fresh: set[str] = set()
    for counts in counted:
        fresh |= await vocabulary.insert_words(db, index, counts.words, known, fresh)
        await vocabulary.insert_news(db, index, counts, written)
    return written


async def delete_rows(db: Connection, index: Index, dataset: Dataset, ledger: int) -> None:
    """Documents of rows that the chunk deleted and that nobody has brought back since."""
    table = f'data."{dataset.name}"'
    same = {name: " AND ".join(f'{name}."{key}" = d."{key}"' for key in dataset.key) for name in ("old", "t")}
    await db.execute(
        f"""
        DELETE FROM {index.documents} d
        USING ingestor.replaced r, jsonb_populate_record(NULL::{table}, r.row) old
        WHERE r.dataset = $1 AND r.ledger = $2 AND {same["old"]}
          AND NOT EXISTS (SELECT FROM {table} t WHERE {same["t"]})
        """,
        dataset.name,
        ledger,
        timeout=INDEX_SECONDS,
    )


async def bring_in(db: Connection, index: Index) -> None:
    """What Postgres has gathered and searches read through; cheap if that is nothing."""
    await db.execute("SELECT gin_clean_pending_list($1::text::regclass)", index.gin_index, timeout=INDEX_SECONDS)


async def analyze(db: Connection, index: Index) -> None:
    """So that Postgres, and with it a search, knows how many documents there are."""
    await db.execute(f"ANALYZE {index.documents}; ANALYZE {index.words}", timeout=INDEX_SECONDS)


async def _select_rows(
    db: Connection, index: Index, dataset: Dataset, ledgers: Sequence[int]
) -> AsyncIterator[list[Any]]:
    """Some at a time, in one snapshot, so that a row that is replaced meanwhile is neither missed nor taken twice."""
    table = f'data."{dataset.name}"'
    named = _quoted((*dataset.key, *(name for name in index.search.fields if name not in dataset.key)), "x")
    old = f"ingestor.replaced p, jsonb_populate_record(NULL::{table}, p.row) x WHERE p.dataset = $2 AND"
    cursor = await db.cursor(
        f"""
        SELECT 1 AS _sign, c.version AS _version, {named}
        FROM {table} x JOIN ingestor.chunks c ON c.ledger = x._chunk WHERE x._chunk = ANY($1)
        UNION ALL SELECT 1, NULL, {named} FROM {old} p.was = ANY($1)
        UNION ALL SELECT -1, NULL, {named} FROM {old} p.ledger = ANY($1)
        """,
        ledgers,
        dataset.name,
        timeout=INDEX_SECONDS,
    )
    while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=INDEX_SECONDS):
        yield rows


async def _insert_documents(
    db: Connection, index: Index, dataset: Dataset, rows: list[Any], documents: list[bytes]
) -> int:
    keys = _quoted(dataset.key)
    types = _types(dataset)
    given = ", ".join(f"${number}::{types[name]}[]" for number, name in enumerate(dataset.key, 3))
    many = len(rows) > vocabulary.MANY
    # Postgres gathers what comes into the index, and searches read through what is gathered: it must not be much, but
    # all that was gathered is brought in at the cost of its different words, which many documents share.
    gathered, memory = ("128MB", "256MB") if many else ("256kB", "4MB")
    await db.execute(f"SET LOCAL gin_pending_list_limit = '{gathered}'; SET LOCAL work_mem = '{memory}'")
    status = await db.execute(
        f"""
        INSERT INTO {index.documents} AS d (_version, _words, {keys})
        SELECT v, w, {keys} FROM unnest($1::bigint[], $2::tsvector[], {given}) AS n (v, w, {keys}) ORDER BY {keys}
        ON CONFLICT ({keys}) DO UPDATE SET _version = excluded._version, _words = excluded._words
        WHERE d._version < excluded._version
        """,
        [row["_version"] for row in rows],
        documents,
        *([row[name] for row in rows] for name in dataset.key),
        timeout=INDEX_SECONDS,
    )
    return int(status.split()[-1])


def _read(told: Sequence[tokens.Texts], labels: Sequence[str], rows: int) -> tuple[list[bytes], tokens.Counts]:
    """Documents of the rows that stand; what they and the replaced ones add to the counts, less the removed ones."""
    standing, replaced, removed = map(tokens.spread, told)
    counts = tokens.counts([standing, replaced], removed)
    return vectors.write(tokens.shortened(standing), labels, rows), counts


def _by_field(index: Index, rows: list[Any]) -> dict[str, list[str | None]]:
    return {name: [row[name] for row in rows] for name in index.search.fields}


def _types(dataset: Dataset) -> dict[str, str]:
    return {name: kinds.sql(field.type) for name, field in columns(dataset).items()}


def _quoted(names: tuple[str, ...], table: str = "") -> str:
    return ", ".join(f'{table}."{name}"' if table else f'"{name}"' for name in names)
