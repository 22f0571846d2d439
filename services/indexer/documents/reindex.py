"""Rebuilds an index: builds the next generation from the table while the current one serves, then switches."""

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.catalog.dataset import Dataset, Search
from shared.contracts.commands import BuildIndex, IndexPiece, SwitchIndex
from shared.contracts.events import DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.telemetry import metrics

PIECE_ROWS = 20_000


async def prepare_all(db: Connection) -> list[Message]:
    """Prepares, at start, datasets whose declaration was missed or whose documents an older version dropped."""
    pieces: list[Message] = []
    for name in await queries.select_unprepared(db):
        pieces += await _prepare(db, name, force=False)
    return pieces


async def prepare_documents(event: DatasetDeclared, db: Connection) -> list[IndexPiece]:
    """Creates the index, even before the first row; rebuilds it if the declaration changes what documents contain."""
    return await _prepare(db, event.dataset, force=False)


async def build_index(command: BuildIndex, db: Connection) -> list[IndexPiece]:
    """Rebuilds the index from all rows."""
    return await _prepare(db, command.dataset, force=True)


async def index_piece(command: IndexPiece, db: Connection, cache: VocabularyCache) -> SwitchIndex | None:
    """Indexes the chunks of a piece. `index_chunk` adds chunks that are loaded in the meantime."""
    dataset = await select_dataset(db, command.dataset)
    await queries.lock_documents(db, command.dataset, exclusive=False)
    indexes = {index.generation: index for index in await queries.select_indexes(db, command.dataset)}
    index = indexes.get(command.generation)
    ledgers = await queries.lock_piece(db, command) if index else []
    if index is None or not ledgers:
        return None
    written = await documents.index_rows(db, index, dataset, ledgers, cache)
    metrics.DOCUMENTS.labels(command.dataset).inc(written)
    if await queries.finish_piece(db, command):
        return SwitchIndex(dataset=command.dataset, generation=command.generation)
    return None


async def switch_index(command: SwitchIndex, db: Connection) -> None:
    """Makes the built generation serve searches; drops the previous one."""
    await queries.lock_documents(db, command.dataset, exclusive=True)
    indexes = await queries.select_indexes(db, command.dataset)
    for index in indexes:
        if index.generation == command.generation and index.state == "building":
            await _switch(db, index, indexes)


async def _prepare(db: Connection, name: str, *, force: bool) -> list[IndexPiece]:
    # Lock before reading the declaration: the latest declaration wins.
    await queries.lock_documents(db, name, exclusive=True)
    dataset = await select_dataset(db, name)
    indexes = await queries.select_indexes(db, name)
    current = [index for index in indexes if dataset.search and index.search.has_same_documents(dataset.search)]
    for index in indexes:
        if dataset.search is None or (index.state == "building" and (force or index not in current)):
            await _drop(db, index)
        elif index in current and index.search != dataset.search:
            await queries.update_search(db, index, dataset.search)
    if dataset.search is None or (current and not force):
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
    await queries.insert_covered_chunks(db, index)
    # Includes chunks that were indexed before the dataset declared a search.
    await update_freshness(db, index.dataset, "indexed")
    version = await queries.select_indexed(db, index.dataset)
    await queries.update_words(db, index, await vocabulary.merge_deltas(db, index))
    await documents.merge_pending_list(db, index)
    await documents.analyze(db, index)
    for other in indexes:
        if other.state == "serving":
            await _drop(db, other)
    await queries.update_serving(db, index)
    await queries.update_counted(db, index.dataset, version)


async def _drop(db: Connection, index: Index) -> None:
    await queries.delete_index(db, index)
    await documents.drop_tables(db, index)
