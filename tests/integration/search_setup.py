"""A searchable dataset for one test: ingestor and indexer load its rows, `find` searches as the gateway."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.indexer.documents.reindex import index_piece, prepare_documents, switch_index
from services.ingestor.tables.declare import declare_dataset
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DeclareDataset, IndexPiece
from shared.contracts.events import ChunkLoaded, DatasetDeclared
from shared.contracts.parts import LoadOptions
from shared.db import Pool
from shared.reads.ingestor.datasets import select_dataset
from shared.search import filters, ordering
from shared.search.query import SearchQuery, SearchResults
from shared.search.search import find
from tests.integration.ingestor_runner import Ingestor
from tests.integration.reader_runners import Indexer

Row = Mapping[str, Any]
UPSERT = LoadOptions()
REPLACE = LoadOptions(mode="replace", max_shrink=1.0)
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "title", "type": "string"},
    {"name": "body", "type": "string"},
    {"name": "more", "type": "string"},
    {"name": "notes", "type": "string"},
    {"name": "rest", "type": "string"},
    {"name": "kind", "type": "string"},
    {"name": "price", "type": "integer"},
]
NAMES = tuple(field["name"] for field in FIELDS)
SEARCH: dict[str, Any] = {"fields": ["title", "body"], "language": "english"}
MANY = ["library for reading", "libraries", "a library", "the library", "library again", "more library", "lamp"]
ROUNDS = 100
CHUNK_BYTES = 2000


class SearchEngine:
    """The dataset `books`: declares its search, loads and indexes rows, and finds them."""

    def __init__(self, ingestor: Ingestor, indexer: Indexer, gateway: Pool) -> None:
        self.ingestor = ingestor
        self.indexer = indexer
        self.gateway = gateway
        self._revision = 0

    @property
    def declared(self) -> bool:
        """Whether the dataset is there already."""
        return self._revision > 0

    async def declare(self, search: Mapping[str, Any] | None) -> list[IndexPiece]:
        """Declares the dataset; returns the pieces to build."""
        declaration: dict[str, Any] = {"title": "Books", "primary_key": ["id"], "fields": FIELDS}
        if search is not None:
            declaration["search"] = search
        command = DeclareDataset(
            dataset="books", follows=self._revision, digest=str(self._revision), declaration=declaration
        )
        async with self.ingestor.transaction() as db:
            assert await declare_dataset(command, db) is not None
        self._revision += 1
        async with self.indexer.pool.acquire() as db, db.transaction():
            prepared = await prepare_documents(DatasetDeclared(dataset="books", revision=self._revision), db)
        return [message for message in prepared if isinstance(message, IndexPiece)]

    async def dataset(self) -> Dataset:
        """As it is declared now."""
        async with self.ingestor.pool.acquire() as db:
            return await select_dataset(db, "books")

    async def load(
        self, rows: Iterable[Row], terms: LoadOptions = UPSERT, *, chunk_bytes: int = CHUNK_BYTES
    ) -> list[ChunkLoaded]:
        """Loads rows without indexing them."""
        ended = await self.ingestor.do("books", as_csv(rows), terms, columns=NAMES, chunk_bytes=chunk_bytes)
        assert ended.stopped is None, ended
        assert ended.outcome.failed == 0
        return ended.loaded

    async def bring(self, rows: Iterable[Row], terms: LoadOptions = UPSERT, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Loads and indexes rows and counts their words."""
        for event in await self.load(rows, terms, chunk_bytes=chunk_bytes):
            await self.indexer.index(event)
        await self.indexer.count("books")

    async def build(self, piece: IndexPiece) -> None:
        """And switches after the last one."""
        async with self.indexer.pool.acquire() as db, db.transaction():
            switch = await index_piece(piece, db, self.indexer.vocabulary_cache)
        if switch is not None:
            async with self.indexer.pool.acquire() as db, db.transaction():
                await switch_index(switch, db)

    async def find(
        self, q: str = "", *, where: Mapping[str, str] | None = None, sort: str = "", **parameters: Any
    ) -> SearchResults:
        """`where` and `sort` as parameters have them."""
        dataset = await self.dataset()
        question = SearchQuery(
            q=q,
            filters=filters.parse(dataset, (where or {}).items()),
            order=ordering.parse(dataset, sort) if sort else (),
            **parameters,
        )
        async with self.gateway.acquire() as db:
            return await find(db, dataset, question)

    async def ids(self, q: str = "", **parameters: Any) -> list[int]:
        """Of the hits of the first page, which has room for many."""
        return [hit.row["id"] for hit in (await self.find(q, **{"limit": 200, "typos": False, **parameters})).data]

    async def pages(self, q: str = "", **parameters: Any) -> AsyncIterator[SearchResults]:
        """All of them, one after the other."""
        cursor: str | None = None
        for _ in range(ROUNDS):
            page = await self.find(q, cursor=cursor, **parameters)
            yield page
            cursor = page.next
            if cursor is None:
                return
        raise AssertionError("the pages have no end")

    async def all(self, q: str = "", **parameters: Any) -> list[int]:
        """The ids of all pages."""
        return [hit.row["id"] async for page in self.pages(q, **parameters) for hit in page.data]


def as_csv(rows: Iterable[Row]) -> str:
    """Without a header line."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([row.get(name) for name in NAMES] for row in rows)
    return out.getvalue()


def books(texts: Sequence[str], **same: Any) -> list[dict[str, Any]]:
    """Numbered from 1, with these bodies."""
    return [{"id": number, "body": text, **same} for number, text in enumerate(texts, 1)]


def weighed(search: Mapping[str, Any], **weights: float) -> dict[str, Any]:
    """The same search with these weights."""
    return {**search, "weights": weights}


def plain(found: SearchResults) -> Any:
    """All that does not change from one answer to the next."""
    return msgspec.structs.replace(found, meta=msgspec.structs.replace(found.meta, seconds=0.0))
