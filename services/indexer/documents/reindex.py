"""Generations of an index: one serves searches, the next is built beside it from the rows, and replaces it."""

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared import ledger
from shared.catalog.dataset import Dataset, Search
from shared.contracts.commands import BuildIndex, IndexPiece, SwitchIndex
from shared.contracts.events import DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection
from shared.search.index import Index
from shared.telemetry import metrics

PIECE_ROWS = 20_000


async def prepare_all(db: Connection) -> list[Message]:
    """Runs at startup: prepares the index of every searchable dataset that has none."""
    messages: list[Message] = []
    for name in await queries.select_unprepared(db):
        messages += await _prepare(db, name, rebuild=False)
    return messages


async def prepare_documents(event: DatasetDeclared, db: Connection) -> list[IndexPiece]:
    """Creates the index of a searchable dataset, or starts the next generation if the declaration requires it."""
    return await _prepare(db, event.dataset, rebuild=False)


async def build_index(command: BuildIndex, db: Connection) -> list[IndexPiece]:
    """Rebuilds the index: starts the next generation."""
    return await _prepare(db, command.dataset, rebuild=True)


async def index_piece(command: IndexPiece, db: Connection, cache: VocabularyCache) -> SwitchIndex | None:
    """Indexes some chunks in the new generation. `index_chunk` does so with chunks that are loaded in the meantime."""
    dataset = await ledger.select_dataset(db, command.dataset)
    await queries.lock_documents(db, command.dataset, exclusive=False)
    indexes = {index.generation: index for index in await queries.select_indexes(db, command.dataset)}
    index = indexes.get(command.generation)
    ledgers = await queries.lock_piece(db, command) if index else []
    if index is None or not ledgers:
        return None
    written = await documents.index_rows(db, index, dataset, ledgers, cache)
    metrics.DOCUMENTS.labels(command.dataset).inc(written)
    if await queries.complete_piece(db, command):
        return SwitchIndex(dataset=command.dataset, generation=command.generation)
    return None


async def switch_index(command: SwitchIndex, db: Connection) -> None:
    """Makes the complete generation serve searches, and drops the previous one."""
    await queries.lock_documents(db, command.dataset, exclusive=True)
    indexes = await queries.select_indexes(db, command.dataset)
    for index in indexes:
        if index.generation == command.generation and index.state == "building":
            await _switch(db, index, indexes)


async def _prepare(db: Connection, name: str, *, rebuild: bool) -> list[IndexPiece]:
    # Before reading the declaration: of two handlers at the same time, the second one sees the latest.
    await queries.lock_documents(db, name, exclusive=True)
    dataset = await ledger.select_dataset(db, name)
    indexes = await queries.select_indexes(db, name)
    matching = [index for index in indexes if dataset.search and index.search.has_same_documents(dataset.search)]
    for index in indexes:
        if dataset.search is None or (index.state == "building" and (rebuild or index not in matching)):
            await _drop(db, index)
        elif index in matching and index.search != dataset.search:
            await queries.update_search(db, index, dataset.search)
    if dataset.search is None or (matching and not rebuild):
        return []
    return await _build(db, dataset, dataset.search)


async def _build(db: Connection, dataset: Dataset, search: Search) -> list[IndexPiece]:
    index = await queries.insert_index(db, dataset.name, search)
    await documents.create_tables(db, index, dataset)
    pieces = await queries.insert_pieces(db, index, PIECE_ROWS)
    if not pieces:
        await _switch(db, index, await queries.select_indexes(db, dataset.name))
    return pieces


async def _switch(db: Connection, index: Index, indexes: list[Index]) -> None:
    # Includes chunks from before the dataset was searchable.
    await ledger.update_freshness(db, index.dataset, "indexed")
    version = await queries.select_indexed_version(db, index.dataset)
    await queries.add_word_count(db, index, await vocabulary.merge_deltas(db, index))
    await documents.flush_pending_list(db, index)
    await documents.analyze(db, index)
    for other in indexes:
        if other.state == "serving":
            await _drop(db, other)
    await queries.set_serving(db, index)
    await queries.set_counted(db, index.dataset, version)


async def _drop(db: Connection, index: Index) -> None:
    await queries.delete_index(db, index)
    await documents.drop_tables(db, index)
