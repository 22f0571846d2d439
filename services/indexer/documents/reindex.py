"""Rebuilds an index: builds the next generation from the table while the current one serves, then switches."""

from uuid import UUID

from services.indexer.documents import documents, queries, vocabulary
from services.indexer.documents.vocabulary_cache import VocabularyCache
from shared.bus.failures import PermanentFailure
from shared.catalog.dataset import Dataset, Search
from shared.contracts.commands import NO_JOB, BuildIndex, IndexPiece, SwitchIndex
from shared.contracts.events import DatasetDeclared, IndexRebuilt
from shared.contracts.message import Message
from shared.contracts.parts import Problem
from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.datasets import select_dataset, select_since
from shared.telemetry import metrics

PIECE_ROWS = 20_000
Prepared = list[IndexPiece | IndexRebuilt]
SUPERSEDED = Problem(
    code="superseded",
    detail="A newer rebuild of the index has begun, so this one can't go on.",
    hint="Nothing: searches use the newer index.",
)


async def prepare_all(db: Connection) -> list[Message]:
    """Prepares, at start, datasets whose declaration was missed or whose documents an older version dropped."""
    pieces: list[Message] = []
    for name in await queries.select_unprepared(db):
        pieces += await _prepare(db, name, force=False)
    return pieces


async def prepare_documents(event: DatasetDeclared, db: Connection) -> Prepared:
    """Creates the index, even before the first row; rebuilds it if the declaration changes what documents contain."""
    return await _prepare(db, event.dataset, force=False)


async def build_index(command: BuildIndex, db: Connection) -> Prepared:
    """Rebuilds the index from all rows."""
    job_id = None if command.job_id == NO_JOB else command.job_id
    return await _prepare(db, command.dataset, force=True, job_id=job_id)


async def index_piece(command: IndexPiece, db: Connection, cache: VocabularyCache) -> SwitchIndex | None:
    """Indexes the chunks of a piece. `index_chunks` adds chunks that are loaded in the meantime.

    Raises PermanentFailure for a piece that is redriven after another job has begun a rebuild.
    """
    dataset = await select_dataset(db, command.dataset)
    await queries.lock_documents(db, command.dataset, exclusive=False)
    indexes = {index.generation: index for index in await queries.select_indexes(db, command.dataset)}
    index = indexes.get(command.generation)
    if index is None and command.job_id not in {None, *(other.job_id for other in indexes.values())}:
        raise PermanentFailure(SUPERSEDED)
    ledgers = await queries.lock_piece(db, command) if index else []
    if index is None or not ledgers:
        return None
    written = await documents.index_rows(db, index, dataset, ledgers, cache)
    metrics.DOCUMENTS.labels(command.dataset).inc(written.total())
    if await queries.finish_piece(db, command):
        return SwitchIndex(dataset=command.dataset, generation=command.generation, job_id=command.job_id)
    return None


async def switch_index(command: SwitchIndex, db: Connection) -> list[IndexRebuilt]:
    """Makes the built generation serve searches; drops the previous one."""
    await queries.lock_documents(db, command.dataset, exclusive=True)
    indexes = await queries.select_indexes(db, command.dataset)
    for index in indexes:
        if index.generation == command.generation and index.state == "building":
            return await _switch(db, index, indexes)
    return []


async def _prepare(db: Connection, name: str, *, force: bool, job_id: UUID | None = None) -> Prepared:
    """Drops what is out of date and builds what is missing. A generation takes over the job of one that it replaces."""
    # Lock before reading the declaration: the latest declaration wins.
    await queries.lock_documents(db, name, exclusive=True)
    dataset = await select_dataset(db, name)
    since = await select_since(db, name, "searched")
    indexes = await queries.select_indexes(db, name)
    current = [
        index
        for index in indexes
        if dataset.search and index.version >= since and index.search.has_same_documents(dataset.search)
    ]
    for index in indexes:
        if dataset.search is None or (index.state == "building" and (force or index not in current)):
            await _drop(db, index)
            job_id = job_id or (index.job_id if index.state == "building" else None)
        elif index in current and index.search != dataset.search:
            await queries.update_search(db, index, dataset.search)
    if dataset.search is None:
        return [IndexRebuilt(dataset=name, job_id=job_id)] if job_id else []
    if current and not force:
        return []
    return await _build(db, dataset, dataset.search, job_id)


async def _build(db: Connection, dataset: Dataset, search: Search, job_id: UUID | None) -> Prepared:
    index = await queries.insert_index(db, dataset.name, search, job_id)
    await documents.create_tables(db, index, dataset)
    pieces = await queries.insert_pieces(db, index, PIECE_ROWS)
    if not pieces:
        return [*await _switch(db, index, await queries.select_indexes(db, dataset.name))]
    return [*pieces]


async def _switch(db: Connection, index: Index, indexes: list[Index]) -> list[IndexRebuilt]:
    await queries.insert_covered_chunks(db, index)
    # Includes chunks that were indexed before the dataset declared a search.
    await update_freshness(db, index.dataset, "indexed")
    version = await queries.select_indexed(db, index.dataset)
    words = (await vocabulary.count_deltas(db, index)).words
    await queries.update_words(db, index, await vocabulary.merge_deltas(db, index, words))
    await documents.merge_pending_list(db, index)
    await documents.analyze(db, index)
    for other in indexes:
        if other.state == "serving":
            await _drop(db, other)
    await queries.update_serving(db, index)
    await queries.update_counted(db, index.dataset, version)
    if index.job_id is None:
        return []
    return [IndexRebuilt(dataset=index.dataset, job_id=index.job_id, generation=index.generation, version=version)]


async def _drop(db: Connection, index: Index) -> None:
    await queries.delete_index(db, index)
    await documents.drop_tables(db, index)
