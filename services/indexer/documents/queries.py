"""Queries about index generations, the pieces left to build, indexed chunks and watermarks."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from shared.catalog.dataset import Search
from shared.contracts.commands import IndexPiece
from shared.db import Connection
from shared.db.locks import DOCUMENTS_LOCK, try_lock
from shared.reads.indexer.index import Index
from shared.reads.ingestor.tables import CHUNKS, DATASETS, IMPORTS

WORDS_LOCK = 0x776F7264


async def lock_documents(db: Connection, dataset: str, *, exclusive: bool) -> None:
    """Locks a dataset's documents until the transaction ends: shared to add, exclusive to delete or to create tables.

    A delete must see the documents of all deleted rows; a plan of a generation must see all indexed chunks.
    """
    shared = "" if exclusive else "_shared"
    await db.execute(f"SELECT pg_advisory_xact_lock{shared}($1, hashtext($2))", DOCUMENTS_LOCK, dataset)


async def select_indexes(db: Connection, dataset: str) -> list[Index]:
    """Returns the serving and the building generation, as far as they exist."""
    rows = await db.fetch(
        "SELECT dataset, generation, search, state, version, job_id FROM indexes WHERE dataset = $1"
        " ORDER BY generation",
        dataset,
    )
    return [msgspec.convert(dict(row), Index) for row in rows]


async def select_unprepared(db: Connection) -> list[str]:
    """Returns the names of searchable datasets without an index that has all chunks."""
    rows = await db.fetch(
        f"SELECT name FROM {DATASETS} d WHERE declaration->'search' IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM indexes i WHERE i.dataset = d.name AND i.version >= d.searched_since)"
    )
    return [row["name"] for row in rows]


async def insert_index(db: Connection, dataset: str, search: Search, job_id: UUID | None) -> Index:
    """Inserts the next generation, in state building. Its number is never reused: ids of messages derive from it."""
    generation: int = await db.fetchval(
        "INSERT INTO indexes (dataset, search, state, job_id) VALUES ($1, $2, 'building', $3) RETURNING generation",
        dataset,
        msgspec.to_builtins(search),
        job_id,
    )
    return Index(dataset=dataset, generation=generation, search=search, state="building", job_id=job_id)


async def update_search(db: Connection, index: Index, search: Search) -> None:
    """Changes the weights of an existing index."""
    await db.execute(
        "UPDATE indexes SET search = $3 WHERE dataset = $1 AND generation = $2",
        index.dataset,
        index.generation,
        msgspec.to_builtins(search),
    )


async def update_serving(db: Connection, index: Index) -> None:
    """Makes the generation serve searches from the commit on."""
    await db.execute(
        "UPDATE indexes SET state = 'serving' WHERE dataset = $1 AND generation = $2", index.dataset, index.generation
    )


async def update_words(db: Connection, index: Index, delta: int) -> None:
    """Adds to the number of distinct words."""
    await db.execute(
        "UPDATE indexes SET words = words + $3 WHERE dataset = $1 AND generation = $2",
        index.dataset,
        index.generation,
        delta,
    )


async def delete_index(db: Connection, index: Index) -> None:
    """Deletes the generation and its pieces."""
    await db.execute("DELETE FROM indexes WHERE dataset = $1 AND generation = $2", index.dataset, index.generation)


async def insert_pieces(db: Connection, index: Index, piece_rows: int) -> list[IndexPiece]:
    """Splits all loaded chunks into pieces of about `piece_rows` written or deleted rows.

    `index_chunks` adds later chunks to the generation: one snapshot shows which these are.
    """
    rows = await db.fetch(
        f"""
        WITH covered AS (
            UPDATE indexes SET version = (SELECT version FROM {DATASETS} WHERE name = $1)
            WHERE dataset = $1 AND generation = $2
        )
        INSERT INTO pieces (dataset, generation, first, ledgers)
        SELECT $1, $2, min(ledger), array_agg(ledger)
        FROM (
            SELECT ledger, (sum(inserted + updated + duplicates + deleted) OVER (ORDER BY ledger) - 1) / $3 AS piece
            FROM {CHUNKS} c
            WHERE dataset = $1 AND inserted + updated + duplicates + deleted > 0
              AND version <= (SELECT version FROM {DATASETS} WHERE name = $1)
        ) numbered
        GROUP BY piece
        RETURNING first
        """,
        index.dataset,
        index.generation,
        piece_rows,
    )
    return [IndexPiece(dataset=index.dataset, generation=index.generation, job_id=index.job_id, **row) for row in rows]


async def lock_piece(db: Connection, piece: IndexPiece) -> list[int]:
    """Locks the piece and returns its chunks; none if it is done."""
    ledgers: list[int] | None = await db.fetchval(
        "SELECT ledgers FROM pieces WHERE dataset = $1 AND generation = $2 AND first = $3 AND done_at IS NULL"
        " FOR UPDATE",
        piece.dataset,
        piece.generation,
        piece.first,
    )
    return ledgers or []


async def finish_piece(db: Connection, piece: IndexPiece) -> bool:
    """Marks the piece as done; returns whether it was the last. Call near the commit: concurrent calls wait for it."""
    # Serializes the last two pieces, so that the second one sees that the first is done.
    await db.execute(
        "SELECT FROM indexes WHERE dataset = $1 AND generation = $2 FOR UPDATE", piece.dataset, piece.generation
    )
    await db.execute(
        "UPDATE pieces SET done_at = now() WHERE dataset = $1 AND generation = $2 AND first = $3",
        piece.dataset,
        piece.generation,
        piece.first,
    )
    return not await db.fetchval(
        "SELECT EXISTS (SELECT FROM pieces WHERE dataset = $1 AND generation = $2 AND done_at IS NULL)",
        piece.dataset,
        piece.generation,
    )


async def insert_chunks(db: Connection, documents: Mapping[int, int]) -> None:
    """Marks chunks, by ledger number, as indexed with so many documents."""
    await db.execute(
        "INSERT INTO chunks (ledger, documents) SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS c (ledger, d)"
        " ORDER BY ledger ON CONFLICT DO NOTHING",
        list(documents),
        list(documents.values()),
    )


async def insert_covered_chunks(db: Connection, index: Index) -> None:
    """Marks the chunks that the pieces of the generation had as indexed, also those that were given up before."""
    await db.execute(
        f"""
        INSERT INTO chunks (ledger, documents)
        SELECT ledger, 0 FROM {CHUNKS}
        WHERE dataset = $1 AND version <= (SELECT version FROM indexes WHERE dataset = $1 AND generation = $2)
        ON CONFLICT DO NOTHING
        """,
        index.dataset,
        index.generation,
    )


async def select_indexed_chunks(db: Connection, ledgers: Sequence[int]) -> set[int]:
    """Returns those of the chunks that are indexed: in addition to the inbox, since words must not be counted twice."""
    return {row["ledger"] for row in await db.fetch("SELECT ledger FROM chunks WHERE ledger = ANY($1)", ledgers)}


async def select_uncounted(db: Connection) -> list[str]:
    """Returns datasets with uncounted words."""
    rows = await db.fetch(
        """
        SELECT f.dataset FROM freshness f
        WHERE f.counted < f.indexed AND EXISTS (SELECT FROM indexes i WHERE i.dataset = f.dataset)
        """
    )
    return [row["dataset"] for row in rows]


async def lock_words(db: Connection, dataset: str) -> bool:
    """Locks the word counts until the transaction ends; returns False if another transaction holds the lock."""
    return await try_lock(db, WORDS_LOCK, dataset)


async def is_importing(db: Connection, dataset: str) -> bool:
    """Returns whether an import of the dataset is running, or its loaded chunks are being indexed."""
    return bool(
        await db.fetchval(
            f"""
            SELECT EXISTS (
                SELECT FROM {CHUNKS} c JOIN {IMPORTS} i USING (job_id)
                WHERE c.loaded_at IS NULL AND c.dataset = $1 AND i.stopped IS NULL
                  AND c.sent_at > now() - interval '1 minute'
            ) OR EXISTS (
                SELECT FROM {CHUNKS} c JOIN freshness f USING (dataset)
                WHERE c.dataset = $1 AND c.version > f.indexed
                  AND NOT EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)
            ) AND EXISTS (SELECT FROM chunks WHERE done_at > now() - interval '10 seconds')
            """,
            dataset,
        )
    )


async def select_indexed(db: Connection, dataset: str) -> int:
    """Returns the version up to which everything is indexed."""
    version: int | None = await db.fetchval("SELECT indexed FROM freshness WHERE dataset = $1", dataset)
    return version or 0


async def update_counted(db: Connection, dataset: str, version: int) -> None:
    """Sets the version up to which all words are counted."""
    await db.execute("UPDATE freshness SET counted = $2 WHERE dataset = $1", dataset, version)
