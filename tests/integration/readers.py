"""Those who hear what was loaded: the handlers of indexer and analytics, each as its own role."""

from typing import Any

import asyncpg

from services.analytics.handlers import count_chunk, prepare_rollups
from services.indexer.handlers import index_chunk, prepare_documents
from shared.contracts.events import ChunkCounted, ChunkIndexed, ChunkLoaded, DatasetDeclared
from shared.db import Pool
from tests.integration.loading import Ingestor, key

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


TEXTS = {
    "departments": "to_tsvector('english', department)",
    "paragraphs": "to_tsvector('english', content)",
    "hired_employees": "to_tsvector('simple', name)",
    "customers": "to_tsvector('simple', concat_ws(' ', first_name, last_name, email, address))",
    "items": "to_tsvector('english', concat_ws(' ', name, category, description))",
}


class Analytics:
    """The handlers of analytics, as its own role."""

    def __init__(self, pool: Pool, admin: asyncpg.Connection) -> None:
        self.pool = pool
        self.admin = admin

    async def count(self, event: ChunkLoaded) -> ChunkCounted | None:
        async with self.pool.acquire() as db, db.transaction():
            return await count_chunk(event, db)

    async def hear(self, event: ChunkLoaded) -> None:
        await self.count(event)

    async def prepare(self, dataset: str) -> None:
        async with self.pool.acquire() as db, db.transaction():
            await prepare_rollups(DatasetDeclared(dataset=dataset, revision=1), db)

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

    async def index(self, event: ChunkLoaded) -> ChunkIndexed | None:
        async with self.pool.acquire() as db, db.transaction():
            return await index_chunk(event, db)

    async def hear(self, event: ChunkLoaded) -> None:
        await self.index(event)

    async def bring(self, ingestor: Ingestor, text: str) -> None:
        """Items that are loaded and indexed."""
        for event in await ingestor.load_all(await ingestor.plan("items", text)):
            await self.index(event)

    async def prepare(self, dataset: str) -> None:
        async with self.pool.acquire() as db, db.transaction():
            await prepare_documents(DatasetDeclared(dataset=dataset, revision=1), db)

    async def documents(self, dataset: str) -> list[tuple[Any, ...]]:
        return await self._rows(f'SELECT {key(dataset)}, _words::text FROM documents."{dataset}"')

    async def recomputed(self, dataset: str) -> list[tuple[Any, ...]]:
        return await self._rows(f'SELECT {key(dataset)}, ({TEXTS[dataset]})::text FROM data."{dataset}"')

    async def found(self, word: str) -> list[int]:
        """Ids of the items with the word, stemmed."""
        rows = await self.pool.fetch(
            "SELECT id FROM documents.items WHERE _words @@ to_tsquery('english', $1) ORDER BY id", word
        )
        return [row["id"] for row in rows]

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return sorted(map(tuple, await self.pool.fetch(query)), key=repr)
