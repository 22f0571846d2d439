"""Runs the handlers of the indexer and of analytics, each with its own role."""

import re
from collections import Counter
from typing import Any
from uuid import uuid4

import asyncpg

from services.analytics.count import count_chunks
from services.analytics.declare import prepare_rollups
from services.analytics.rebuild import rebuild_rollup
from services.analytics.refresh import refresh_report
from services.indexer.documents.index import index_chunks
from services.indexer.documents.reindex import Prepared, index_piece, prepare_documents, switch_index
from services.indexer.documents.vocabulary_cache import VocabularyCache
from services.indexer.words import word_counts
from shared.contracts.commands import IndexPiece, RebuildRollup, RefreshReport
from shared.contracts.events import (
    ChunkCounted,
    ChunkIndexed,
    ChunkLoaded,
    DatasetDeclared,
    ReportRefreshed,
    RollupRebuilt,
)
from shared.db import Pool
from shared.reads.indexer.index import Index, count_words, select_index
from tests.integration.ingestor_runner import DATASETS, Ingestor, forget, key

RECOMPUTED = {
    "hired_employees": """
        SELECT date_part('year', hired_at)::int, date_part('quarter', hired_at)::int, department_id, job_id,
               count(*), count(*)
        FROM data.hired_employees GROUP BY 1, 2, 3, 4
    """,
    "customers": """
        SELECT date_trunc('month', created_at)::date, count(*), coalesce(sum(account_balance), 0), count(*)
        FROM data.customers GROUP BY 1
    """,
    "items": "SELECT category, count(*), coalesce(sum(quantity), 0), count(*) FROM data.items GROUP BY 1",
}
KEPT = {
    "hired_employees": "SELECT hired_at_year, hired_at_quarter, department_id, job_id, hires, _rows"
    " FROM rollups.hired_employees__hires",
    "customers": "SELECT created_at_month, customers, balance, _rows FROM rollups.customers__joined",
    "items": "SELECT category, items, quantity, _rows FROM rollups.items__stock",
}


class Analytics:
    """The handlers of analytics, as its own role."""

    def __init__(self, pool: Pool, admin: asyncpg.Connection) -> None:
        self.pool = pool
        self.admin = admin

    async def count(self, *events: ChunkLoaded) -> list[ChunkCounted]:
        async with self.pool.acquire() as db, db.transaction():
            return await count_chunks(events, db)

    async def hear(self, event: ChunkLoaded) -> None:
        await self.count(event)

    async def prepare(self, dataset: str) -> None:
        async with self.pool.acquire() as db, db.transaction():
            await prepare_rollups(DatasetDeclared(dataset=dataset, revision=1), db)

    async def die(self, event: ChunkLoaded) -> None:
        """Does all of it, and is gone before the commit."""
        async with self.pool.acquire() as db:
            transaction = db.transaction()
            await transaction.start()
            await count_chunks([event], db)
            await transaction.rollback()

    async def refresh(self, *datasets: str) -> ReportRefreshed:
        command = RefreshReport(dataset=datasets[0], job_id=uuid4(), report="report", datasets=datasets)
        async with self.pool.acquire() as db, db.transaction():
            return await refresh_report(command, db)

    async def rebuild(self, dataset: str, rollup: str) -> RollupRebuilt:
        async with self.pool.acquire() as db, db.transaction():
            return await rebuild_rollup(RebuildRollup(dataset=dataset, job_id=uuid4(), rollup=rollup), db)

    async def counted(self, dataset: str) -> int | None:
        """Up to which version."""
        version: int | None = await self.pool.fetchval("SELECT counted FROM freshness WHERE dataset = $1", dataset)
        return version

    async def rollup(self, dataset: str) -> list[tuple[Any, ...]]:
        return await self._rows(KEPT[dataset])

    async def recomputed(self, dataset: str) -> list[tuple[Any, ...]]:
        return await self._rows(RECOMPUTED[dataset])

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return sorted(map(tuple, await self.pool.fetch(query)), key=repr)


class Indexer:
    """The handlers of the indexer, as its own role."""

    def __init__(self, pool: Pool, admin: asyncpg.Connection) -> None:
        self.pool = pool
        self.admin = admin
        self.vocabulary_cache = VocabularyCache()

    async def forget(self) -> None:
        """As before the first row came."""
        await forget(self.admin)
        self.vocabulary_cache = VocabularyCache()

    async def index(self, *events: ChunkLoaded) -> list[ChunkIndexed]:
        async with self.pool.acquire() as db, db.transaction():
            return await index_chunks(events, db, self.vocabulary_cache)

    async def hear(self, event: ChunkLoaded) -> None:
        await self.index(event)

    async def bring(self, ingestor: Ingestor, text: str) -> None:
        """Items that are loaded and indexed."""
        for event in await ingestor.load_all(await ingestor.plan("items", text)):
            await self.index(event)

    async def prepare(self, dataset: str, revision: int = 1) -> None:
        """And builds what there is to build."""
        async with self.pool.acquire() as db, db.transaction():
            pieces = await prepare_documents(DatasetDeclared(dataset=dataset, revision=revision), db)
        await self.build(pieces)

    async def build(self, prepared: Prepared) -> None:
        """All pieces of a generation, each twice."""
        pieces = [message for message in prepared if isinstance(message, IndexPiece)]
        for piece in [*pieces, *pieces]:
            async with self.pool.acquire() as db, db.transaction():
                switch = await index_piece(piece, db, self.vocabulary_cache)
                if switch is not None:
                    await switch_index(switch, db)

    async def count(self, dataset: str) -> None:
        async with self.pool.acquire() as db, db.transaction():
            await word_counts.count(db, dataset)

    async def documents(self, dataset: str) -> tuple[list[tuple[Any, ...]], list[tuple[str, int, int]]]:
        """The words of each row with their places, and all words with their counts."""
        await self.count(dataset)
        index = await self.serving(dataset)
        async with self.pool.acquire() as db:
            rows = await db.fetch(f"SELECT {key(dataset)}, d._words::text AS _words FROM {index.documents} d")
            words = await db.fetch(
                f"SELECT word, documents, occurrences FROM {index.words} WHERE (documents, occurrences) <> (0, 0)"
            )
            assert await count_words(db, dataset) == sum(row["occurrences"] > 0 for row in words)
        return sorted(map(tuple, rows), key=repr), sorted(map(tuple, words))

    async def recomputed(self, dataset: str) -> tuple[list[tuple[Any, ...]], list[tuple[str, int, int]]]:
        """The same from the table, by other means."""
        search = DATASETS[dataset].search
        assert search is not None
        columns = ", ".join(f'"{name}"' for name in search.fields)
        rows = await self.pool.fetch(f'SELECT {key(dataset)}, ARRAY[{columns}] AS _texts FROM data."{dataset}"')
        documents, everywhere, anywhere = [], Counter[str](), Counter[str]()
        for *known, fields in map(tuple, rows):
            entries, place = [], 0
            for label, text in zip("ABCD", fields, strict=False):
                for word in re.findall(r"\w+", (text or "").lower()):
                    place += 1
                    entries.append((word, f"{word}:{place}{label.replace('D', '')}"))
                place += 1
            everywhere.update(word for word, _ in entries)
            anywhere.update({word for word, _ in entries})
            vector = await self.pool.fetchval("SELECT $1::text::tsvector::text", " ".join(one for _, one in entries))
            documents.append((*known, vector))
        return sorted(documents, key=repr), sorted((word, anywhere[word], n) for word, n in everywhere.items())

    async def serving(self, dataset: str) -> Index:
        """The generation that answers."""
        async with self.pool.acquire() as db:
            index = await select_index(db, dataset)
        assert index is not None
        return index

    async def found(self, word: str) -> list[int]:
        """Ids of the items that have the word as it stands."""
        index = await self.serving("items")
        async with self.pool.acquire() as db:
            rows = await db.fetch(
                f"SELECT id FROM {index.documents} WHERE _words @@ $1::text::tsquery ORDER BY id", f"'{word}'"
            )
        return [row["id"] for row in rows]
