"""Queries of the tables that are made for a generation: documents, and the vocabulary of their words."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from services.indexer import texts, vectors
from services.indexer.known import Known
from shared.catalog import kinds
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.search import words
from shared.search.columns import columns
from shared.search.index import Index

INDEX_SECONDS = 600.0
ROWS_AT_ONCE = 25_000
"""Are in memory: a chunk has less, unless it is the swap of a whole table."""
MANY = 1000
"""Documents: so many are brought into the index together, and not one by one."""


class News(NamedTuple):
    """Chunks that wait to be brought into the vocabulary, and the words that they have together.

    `gathered` says that one of them had so many documents that they were not brought into the index one by one.
    """

    chunks: int
    words: int
    gathered: bool


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
        CREATE INDEX {index.lookup.partition(".")[2]} ON {index.documents} USING gin (_words);
        CREATE TABLE {index.words} (
            word text COLLATE "C" PRIMARY KEY, lexeme text COLLATE "C" NOT NULL,
            documents bigint NOT NULL, occurrences bigint NOT NULL
        );
        CREATE INDEX ON {index.words} (lexeme);
        CREATE INDEX ON {index.words} (occurrences DESC, word);
        CREATE TABLE {index.news} (
            written bigint NOT NULL, words text[] NOT NULL, documents bigint[] NOT NULL, occurrences bigint[] NOT NULL
        );
        ALTER TABLE {index.news} ALTER words SET STORAGE EXTERNAL, ALTER documents SET STORAGE EXTERNAL,
            ALTER occurrences SET STORAGE EXTERNAL; -- they are gone too soon for squeezing them
        """
    )


async def drop_tables(db: Connection, index: Index) -> None:
    """Waits for those who read them."""
    await db.execute(f"DROP TABLE {index.documents}, {index.words}, {index.news}")


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
        fresh |= await _insert_words(db, index, counts.words, known, fresh)
        await _insert_news(db, index, counts, written)
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


async def fold_news(db: Connection, index: Index) -> int:
    """Brings what was added to the counts into the vocabulary. Returns how many more words there are."""
    words: int = await db.fetchval(
        f"""
        WITH news AS (DELETE FROM {index.news} RETURNING *), summed AS (
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
        timeout=INDEX_SECONDS,
    )
    return words


async def bring_in(db: Connection, index: Index) -> None:
    """What Postgres has gathered and searches read through; cheap if that is nothing."""
    await db.execute("SELECT gin_clean_pending_list($1::text::regclass)", index.lookup, timeout=INDEX_SECONDS)


async def analyze(db: Connection, index: Index) -> None:
    """So that Postgres, and with it a search, knows how many documents there are."""
    await db.execute(f"ANALYZE {index.documents}; ANALYZE {index.words}", timeout=INDEX_SECONDS)


async def count_news(db: Connection, index: Index) -> News:
    """As far as it is committed."""
    row = await db.fetchrow(
        f"""
        SELECT count(*) AS chunks, coalesce(sum(cardinality(words)), 0) AS words,
               coalesce(max(written), 0) AS written
        FROM {index.news}
        """
    )
    return News(row["chunks"], row["words"], row["written"] > MANY) if row else News(0, 0, gathered=False)


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
    many = len(rows) > MANY
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


async def _insert_words(db: Connection, index: Index, given: list[str], known: Known, fresh: set[str]) -> set[str]:
    """The vocabulary has them all, and new ones before their documents can be found. Returns those that it lacked.

    What is `fresh`, the transaction has inserted before: if it fails, they are gone again.
    """
    missing = known.missing(index.words, given)
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
        words.folded(missing),
        index.search.stemmer,
        timeout=INDEX_SECONDS,
    )
    if many:
        await db.execute("SET LOCAL enable_nestloop = on")
    inserted = {row["word"] for row in rows}
    known.learn(index.words, (word for word in missing if word not in inserted and word not in fresh))
    return inserted


async def _insert_news(db: Connection, index: Index, counts: texts.Counts, written: int) -> None:
    """Counts follow by and by. So many documents were `written`."""
    if not counts.words:
        return
    await db.execute(
        f"INSERT INTO {index.news} (written, words, documents, occurrences) VALUES ($1, $2, $3, $4)",
        written,
        counts.words,
        counts.documents,
        counts.occurrences,
    )


def _read(told: Sequence[texts.Texts], labels: Sequence[str], rows: int) -> tuple[list[bytes], texts.Counts]:
    """Documents of the rows that stand; what they and the replaced ones add to the counts, less the removed ones."""
    standing, replaced, removed = map(texts.spread, told)
    counts = texts.counts([standing, replaced], removed)
    return vectors.write(texts.shortened(standing), labels, rows), counts


def _by_field(index: Index, rows: list[Any]) -> dict[str, list[str | None]]:
    return {name: [row[name] for row in rows] for name in index.search.fields}


def _types(dataset: Dataset) -> dict[str, str]:
    return {name: kinds.sql(field.type) for name, field in columns(dataset).items()}


def _quoted(names: tuple[str, ...], table: str = "") -> str:
    return ", ".join(f'{table}."{name}"' if table else f'"{name}"' for name in names)
