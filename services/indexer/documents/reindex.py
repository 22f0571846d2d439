"""Generations of a dataset's documents: one answers, and the next is built beside it, from what stands in the table."""

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.documents.vocabulary_cache import Known
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
    """At start: documents for what was declared while nobody listened, or before documents were made this way."""
    said: list[Message] = []
    for name in await queries.select_unprepared(db):
        said += await _prepare(db, name, anew=False)
    return said


async def prepare_documents(event: DatasetDeclared, db: Connection) -> list[IndexPiece]:
    """A searchable dataset can be searched before its first row is there; another declaration makes new documents."""
    return await _prepare(db, event.dataset, anew=False)


async def build_index(command: BuildIndex, db: Connection) -> list[IndexPiece]:
    """Makes all documents anew."""
    return await _prepare(db, command.dataset, anew=True)


async def index_piece(command: IndexPiece, db: Connection, known: Known) -> SwitchIndex | None:
    """Makes the documents of some chunks. What is loaded meanwhile, `index_chunk` brings to this generation too."""
    dataset = await ledger.select_dataset(db, command.dataset)
    await queries.lock_documents(db, command.dataset, alone=False)
    indexes = {index.generation: index for index in await queries.select_indexes(db, command.dataset)}
    index = indexes.get(command.generation)
    ledgers = await queries.lock_piece(db, command) if index else []
    if index is None or not ledgers:
        return None
    written = await documents.insert_rows(db, index, dataset, ledgers, known)
    metrics.DOCUMENTS.labels(command.dataset).inc(written)
    if await queries.update_done(db, command):
        return SwitchIndex(dataset=command.dataset, generation=command.generation)
    return None


async def switch_index(command: SwitchIndex, db: Connection) -> None:
    """From now on this generation answers, and the one before is gone."""
    await queries.lock_documents(db, command.dataset, alone=True)
    indexes = await queries.select_indexes(db, command.dataset)
    for index in indexes:
        if index.generation == command.generation and index.state == "building":
            await _switch(db, index, indexes)


async def _prepare(db: Connection, name: str, *, anew: bool) -> list[IndexPiece]:
    # Before the declaration is read: of two that follow each other, the later one decides.
    await queries.lock_documents(db, name, alone=True)
    dataset = await ledger.select_dataset(db, name)
    indexes = await queries.select_indexes(db, name)
    fitting = [index for index in indexes if dataset.search and index.search.has_same_documents(dataset.search)]
    for index in indexes:
        if dataset.search is None or (index.state == "building" and (anew or index not in fitting)):
            await _drop(db, index)
        elif index in fitting and index.search != dataset.search:
            await queries.update_search(db, index, dataset.search)
    if dataset.search is None or (fitting and not anew):
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
    # What was indexed before the dataset was searched counts from now on.
    await ledger.update_freshness(db, index.dataset, "indexed")
    version = await queries.select_indexed(db, index.dataset)
    await queries.update_words(db, index, await vocabulary.fold_news(db, index))
    await documents.bring_in(db, index)
    await documents.analyze(db, index)
    for other in indexes:
        if other.state == "serving":
            await _drop(db, other)
    await queries.update_serving(db, index)
    await queries.update_counted(db, index.dataset, version)


async def _drop(db: Connection, index: Index) -> None:
    await queries.delete_index(db, index)
    await documents.drop_tables(db, index)
