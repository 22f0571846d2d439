"""What the indexer remembers: generations of documents, what is left to build of them, and which chunks it has."""

from collections.abc import Sequence

import msgspec

from shared.catalog.dataset import Search
from shared.contracts.commands import IndexPiece
from shared.db import Connection
from shared.search.index import Index

INDEXING = 0x646F6373
COUNTING = 0x776F7264


async def lock_documents(db: Connection, dataset: str, *, alone: bool) -> None:
    """Until the transaction ends. Those who add documents share it; who deletes some, or makes tables, is alone.

    Who deletes must see the documents of all rows that are gone, and who plans a generation all chunks that it lacks.
    """
    shared = "" if alone else "_shared"
    await db.execute(f"SELECT pg_advisory_xact_lock{shared}($1, hashtext($2))", INDEXING, dataset)


async def select_indexes(db: Connection, dataset: str) -> list[Index]:
    """The generation that answers and the one that is being built, as far as there are."""
    rows = await db.fetch(
        "SELECT dataset, generation, search, state FROM indexes WHERE dataset = $1 ORDER BY generation", dataset
    )
    return [msgspec.convert(dict(row), Index) for row in rows]


async def select_unprepared(db: Connection) -> list[str]:
    """Searchable datasets without documents."""
    rows = await db.fetch(
        "SELECT name FROM ingestor.datasets d WHERE declaration->'search' IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM indexes i WHERE i.dataset = d.name)"
    )
    return [row["name"] for row in rows]


async def insert_index(db: Connection, dataset: str, search: Search) -> Index:
    """The next generation, which is being built. Its number is never used again: messages are known by it."""
    generation: int = await db.fetchval(
        "INSERT INTO indexes (dataset, search, state) VALUES ($1, $2, 'building') RETURNING generation",
        dataset,
        msgspec.to_builtins(search),
    )
    return Index(dataset=dataset, generation=generation, search=search, state="building")


async def update_search(db: Connection, index: Index, search: Search) -> None:
    """Weights can change over documents that stand."""
    await db.execute(
        "UPDATE indexes SET search = $3 WHERE dataset = $1 AND generation = $2",
        index.dataset,
        index.generation,
        msgspec.to_builtins(search),
    )


async def update_serving(db: Connection, index: Index) -> None:
    """From the commit on, this generation answers."""
    await db.execute(
        "UPDATE indexes SET state = 'serving' WHERE dataset = $1 AND generation = $2", index.dataset, index.generation
    )


async def update_words(db: Connection, index: Index, more: int) -> None:
    """So many more words stand in the documents."""
    await db.execute(
        "UPDATE indexes SET words = words + $3 WHERE dataset = $1 AND generation = $2",
        index.dataset,
        index.generation,
        more,
    )


async def delete_index(db: Connection, index: Index) -> None:
    """With what was left to do of it."""
    await db.execute("DELETE FROM indexes WHERE dataset = $1 AND generation = $2", index.dataset, index.generation)


async def insert_pieces(db: Connection, index: Index, rows_at_once: int) -> list[IndexPiece]:
    """All chunks that are indexed, in runs that wrote or deleted about so many rows together.

    Whatever else is loaded comes to the generation by its event.
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
    """Its chunks; none if it is done already."""
    ledgers: list[int] | None = await db.fetchval(
        "SELECT ledgers FROM pieces WHERE dataset = $1 AND generation = $2 AND first = $3 AND done_at IS NULL"
        " FOR UPDATE",
        piece.dataset,
        piece.generation,
        piece.first,
    )
    return ledgers or []


async def update_done(db: Connection, piece: IndexPiece) -> bool:
    """Closes a piece; whether it was the last. Near the commit: others who close one wait for it."""
    # Of two last pieces, one waits here and then sees that the other is done.
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
    """Pieces whose message is lost: no other was done for so long either. Marks them as sent."""
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
    """Closes the chunk."""
    await db.execute("INSERT INTO chunks (ledger, documents) VALUES ($1, $2) ON CONFLICT DO NOTHING", ledger, documents)


async def is_indexed(db: Connection, ledger: int) -> bool:
    """Whether its words are counted: counting them twice would be wrong, whatever the inbox says."""
    return bool(await db.fetchval("SELECT true FROM chunks WHERE ledger = $1", ledger))


async def select_uncounted(db: Connection) -> list[str]:
    """Datasets whose words are not all counted."""
    rows = await db.fetch(
        """
        SELECT f.dataset FROM freshness f
        WHERE f.counted < f.indexed AND EXISTS (SELECT FROM indexes i WHERE i.dataset = f.dataset)
        """
    )
    return [row["dataset"] for row in rows]


async def lock_words(db: Connection, dataset: str) -> bool:
    """For whoever counts words, until the transaction ends; false if somebody else does."""
    return bool(await db.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", COUNTING, dataset))


async def has_more_to_come(db: Connection, dataset: str) -> bool:
    """Whether an import of the dataset is under way, or what it has loaded is being indexed."""
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


async def select_indexed(db: Connection, dataset: str) -> int:
    """Up to which version everything is indexed."""
    version: int | None = await db.fetchval("SELECT indexed FROM freshness WHERE dataset = $1", dataset)
    return version or 0


async def update_counted(db: Connection, dataset: str, version: int) -> None:
    """Up to which version all words are counted."""
    await db.execute("UPDATE freshness SET counted = $2 WHERE dataset = $1", dataset, version)
