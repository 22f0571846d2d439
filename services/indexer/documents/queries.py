"""Queries about generations, the pieces to build them from, indexed chunks and freshness."""

from collections.abc import Sequence

import msgspec

from shared.catalog.dataset import Search
from shared.contracts.commands import IndexPiece
from shared.db import Connection
from shared.search.index import Index

INDEX_LOCK = 0x646F6373
COUNT_LOCK = 0x776F7264


async def lock_documents(db: Connection, dataset: str, *, exclusive: bool) -> None:
    """Takes the lock of a dataset's documents until the transaction ends: shared for inserts only.

    Deletes need it exclusively to see the documents of all deleted rows, and new generations to see all chunks.
    """
    shared = "" if exclusive else "_shared"
    await db.execute(f"SELECT pg_advisory_xact_lock{shared}($1, hashtext($2))", INDEX_LOCK, dataset)


async def select_indexes(db: Connection, dataset: str) -> list[Index]:
    """Selects the generation that serves searches and the one that is being built, if any."""
    rows = await db.fetch(
        "SELECT dataset, generation, search, state FROM indexes WHERE dataset = $1 ORDER BY generation", dataset
    )
    return [msgspec.convert(dict(row), Index) for row in rows]


async def select_unprepared(db: Connection) -> list[str]:
    """Selects searchable datasets without an index."""
    rows = await db.fetch(
        "SELECT name FROM ingestor.datasets d WHERE declaration->'search' IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM indexes i WHERE i.dataset = d.name)"
    )
    return [row["name"] for row in rows]


async def insert_index(db: Connection, dataset: str, search: Search) -> Index:
    """Inserts the next generation, as building. Its number is never reused, because messages refer to it."""
    generation: int = await db.fetchval(
        "INSERT INTO indexes (dataset, search, state) VALUES ($1, $2, 'building') RETURNING generation",
        dataset,
        msgspec.to_builtins(search),
    )
    return Index(dataset=dataset, generation=generation, search=search, state="building")


async def update_search(db: Connection, index: Index, search: Search) -> None:
    """Updates the declaration of a generation. New weights need no new documents."""
    await db.execute(
        "UPDATE indexes SET search = $3 WHERE dataset = $1 AND generation = $2",
        index.dataset,
        index.generation,
        msgspec.to_builtins(search),
    )


async def set_serving(db: Connection, index: Index) -> None:
    """Makes the generation serve searches."""
    await db.execute(
        "UPDATE indexes SET state = 'serving' WHERE dataset = $1 AND generation = $2", index.dataset, index.generation
    )


async def add_word_count(db: Connection, index: Index, change: int) -> None:
    """Adds to the number of different words."""
    await db.execute(
        "UPDATE indexes SET words = words + $3 WHERE dataset = $1 AND generation = $2",
        index.dataset,
        index.generation,
        change,
    )


async def delete_index(db: Connection, index: Index) -> None:
    """Deletes a generation and its pieces."""
    await db.execute("DELETE FROM indexes WHERE dataset = $1 AND generation = $2", index.dataset, index.generation)


async def insert_pieces(db: Connection, index: Index, rows_at_once: int) -> list[IndexPiece]:
    """Inserts pieces with all indexed chunks, each of about `rows_at_once` rows.

    `index_chunk` indexes all other chunks in the new generation, too.
    """
    rows = await db.fetch(
        """
        INSERT INTO pieces (dataset, generation, first, ledgers)
        SELECT $1, $2, min(ledger), array_agg(ledger)
        FROM (
            SELECT ledger, (sum(inserted + updated + duplicates + deleted) OVER (ORDER BY ledger) - 1) / $3 AS piece
            FROM ingestor.chunks c
            WHERE dataset = $1 AND inserted + updated + duplicates + deleted > 0
              AND EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)
        ) numbered
        GROUP BY piece
        RETURNING first
        """,
        index.dataset,
        index.generation,
        rows_at_once,
    )
    return [IndexPiece(dataset=index.dataset, generation=index.generation, **row) for row in rows]


async def lock_piece(db: Connection, piece: IndexPiece) -> list[int]:
    """Locks a piece and returns its chunks; none if it is complete."""
    ledgers: list[int] | None = await db.fetchval(
        "SELECT ledgers FROM pieces WHERE dataset = $1 AND generation = $2 AND first = $3 AND done_at IS NULL"
        " FOR UPDATE",
        piece.dataset,
        piece.generation,
        piece.first,
    )
    return ledgers or []


async def complete_piece(db: Connection, piece: IndexPiece) -> bool:
    """Completes a piece. Returns whether it was the last. Call it close to the commit: it blocks other pieces."""
    # Of the last two pieces, one waits here and then sees that the other is complete.
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


async def claim_overdue(db: Connection, *, seconds: float, limit: int) -> Sequence[IndexPiece]:
    """Selects pieces whose message is lost, as no piece was completed for so long, and marks them as sent."""
    rows = await db.fetch(
        """
        UPDATE pieces p SET sent_at = now()
        FROM (
            SELECT dataset, generation, first FROM pieces
            WHERE done_at IS NULL AND sent_at < now() - $1 * interval '1 second'
              AND NOT EXISTS (SELECT FROM pieces WHERE done_at > now() - $1 * interval '1 second')
            ORDER BY dataset, generation, first LIMIT $2 FOR UPDATE SKIP LOCKED
        ) due
        WHERE (p.dataset, p.generation, p.first) = (due.dataset, due.generation, due.first)
        RETURNING p.dataset, p.generation, p.first
        """,
        seconds,
        limit,
    )
    return [IndexPiece(**row) for row in rows]


async def insert_indexed(db: Connection, ledger: int, documents: int) -> None:
    """Inserts an indexed chunk."""
    await db.execute("INSERT INTO chunks (ledger, documents) VALUES ($1, $2) ON CONFLICT DO NOTHING", ledger, documents)


async def is_indexed(db: Connection, ledger: int) -> bool:
    """Returns whether the chunk is indexed. Indexing it twice would count its words twice, whatever the inbox says."""
    return bool(await db.fetchval("SELECT true FROM chunks WHERE ledger = $1", ledger))


async def select_uncounted(db: Connection) -> list[str]:
    """Selects datasets with unmerged counts of words."""
    rows = await db.fetch(
        """
        SELECT f.dataset FROM freshness f
        WHERE f.counted < f.indexed AND EXISTS (SELECT FROM indexes i WHERE i.dataset = f.dataset)
        """
    )
    return [row["dataset"] for row in rows]


async def try_lock_counts(db: Connection, dataset: str) -> bool:
    """Takes the lock for merging counts until the transaction ends. Returns False if another transaction has it."""
    return bool(await db.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", COUNT_LOCK, dataset))


async def has_import(db: Connection, dataset: str) -> bool:
    """Returns whether chunks of the dataset are being loaded or indexed."""
    return bool(
        await db.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM ingestor.chunks c JOIN ingestor.imports i USING (job_id)
                WHERE c.loaded_at IS NULL AND c.dataset = $1 AND i.stopped IS NULL
                  AND c.sent_at > now() - interval '1 minute'
            ) OR EXISTS (
                SELECT FROM ingestor.chunks c JOIN freshness f USING (dataset)
                WHERE c.dataset = $1 AND c.version > f.indexed
                  AND NOT EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)
            ) AND EXISTS (SELECT FROM chunks WHERE done_at > now() - interval '10 seconds')
            """,
            dataset,
        )
    )


async def select_indexed_version(db: Connection, dataset: str) -> int:
    """Selects the version up to which all chunks are indexed."""
    version: int | None = await db.fetchval("SELECT indexed FROM freshness WHERE dataset = $1", dataset)
    return version or 0


async def set_counted(db: Connection, dataset: str, version: int) -> None:
    """Stores the version up to which all words are counted."""
    await db.execute("UPDATE freshness SET counted = $2 WHERE dataset = $1", dataset, version)
