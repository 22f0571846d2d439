"""What the ingestor decides: how a file is cut, what becomes of each row, what is sent again."""

import asyncio
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from services.ingestor import merging, queries, tables
from services.ingestor.constraints import BadConstraint
from services.ingestor.copying import columns as copied_columns
from services.ingestor.copying import to_copy
from services.ingestor.cutting import Cut, cut
from services.ingestor.parsing import Batch, parse
from services.ingestor.records import LARGEST_RECORD
from services.ingestor.settings import IngestorSettings
from shared.bus.failures import Permanent, Postponed
from shared.catalog.dataset import Dataset
from shared.catalog.files import BadDeclaration, read_datasets
from shared.contracts.commands import LoadChunk, PlanImport
from shared.contracts.events import ChunkLoaded, DatasetDeclared, ImportPlanned, ImportRejected
from shared.contracts.message import Message
from shared.contracts.parts import Dialect, Outcome, Problem
from shared.db import Connection
from shared.spool import Spool
from shared.telemetry import metrics

OVERDUE_SECONDS = 30.0
FATES = ("inserted", "updated", "unchanged", "duplicates", "failed")
RESENT_AT_ONCE = 100
ROUNDS = 5
OVERLONG_BYTES = LARGEST_RECORD + 2
"""Enough of an overlong line to see that it is one."""
log = structlog.get_logger()


async def declare_catalog(db: Connection, catalog: Path) -> list[Message]:
    """At start: makes the tables of the declared datasets, or changes them where that loses nothing."""
    await queries.lock_declarations(db)
    said: list[Message] = []
    for dataset in read_datasets(catalog):
        _show_zeros(dataset.name)
        known = await queries.select_dataset(db, dataset.name)
        if known is None:
            statements, revision = tables.create(dataset), 1
        elif known[0] == dataset:
            continue
        else:
            statements, refused = tables.evolve(known[0], dataset)
            if refused:
                raise BadDeclaration("\n".join(f"dataset {dataset.name!r}: {reason}" for reason in refused))
            revision = known[1] + 1
        await queries.upsert_dataset(db, dataset, revision, statements)
        log.info("declared", dataset=dataset.name, revision=revision)
        said.append(DatasetDeclared(dataset=dataset.name, revision=revision))
    return said


async def plan_import(
    command: PlanImport, db: Connection, spool: Spool, told: IngestorSettings
) -> list[LoadChunk | ImportPlanned] | ImportRejected:
    """Cuts the file at record ends; each chunk is then loaded by whoever is free."""
    try:
        with spool.open(command.file) as file:
            cuts = await asyncio.to_thread(_cuts, file, command.dialect, told.chunk_bytes)
    except FileNotFoundError:
        return ImportRejected(dataset=command.dataset, job_id=command.job_id, problem=_file_is_gone())
    loads = [
        LoadChunk(
            dataset=command.dataset,
            job_id=command.job_id,
            chunk=number,
            start=piece.start,
            end=piece.end,
            line=piece.line,
            overlong=piece.end - piece.start > max(told.chunk_bytes, OVERLONG_BYTES),
        )
        for number, piece in enumerate(cuts, 1)
    ]
    await queries.insert_plan(db, command, loads)
    planned = ImportPlanned(
        dataset=command.dataset,
        job_id=command.job_id,
        chunks=len(loads),
        bytes=sum(load.end - load.start for load in loads),
    )
    return [*loads, planned]


async def load_chunk(command: LoadChunk, db: Connection, spool: Spool) -> ChunkLoaded:
    """Loads the good rows, keeps the bad ones, and closes the chunk's line in the ledger, all in one transaction."""
    chunk = await queries.select_chunk(db, command.job_id, command.chunk)
    try:
        end = min(command.end, command.start + OVERLONG_BYTES) if command.overlong else command.end
        data = await asyncio.to_thread(spool.read, chunk.file, command.start, end)
    except (FileNotFoundError, EOFError) as error:
        raise Permanent(_file_is_gone()) from error
    now = await db.fetchval("SELECT now()")
    try:
        batch = await asyncio.to_thread(parse, data, chunk.dataset, chunk.dialect, line=command.line, now=now)
    except BadConstraint as error:
        raise Permanent(Problem(code="bad_declaration", detail=f"Dataset {command.dataset}: {error}")) from error
    await _make_partitions(db, chunk.dataset, batch)
    rows = await asyncio.to_thread(to_copy, batch.rows, chunk=chunk.ledger)
    columns = copied_columns(chunk.dialect)
    try:
        await queries.copy_rows(db, chunk.dataset.name, columns, rows, schema="data")
        written = Outcome(inserted=batch.rows.height)
    except queries.KeyTaken:
        written = await _merge(command, db, chunk, rows)
    if batch.failed:
        await queries.insert_failed_rows(db, command, batch.failed)
    outcome = msgspec.structs.replace(written, rows_read=batch.rows_read, failed=len(batch.failed))
    version = await queries.update_loaded(db, chunk.ledger, chunk.dataset.name, outcome)
    _tell(command.dataset, outcome, batch)
    return ChunkLoaded(
        dataset=command.dataset,
        job_id=command.job_id,
        chunk=command.chunk,
        ledger=chunk.ledger,
        version=version,
        bytes=command.end - command.start,
        outcome=outcome,
    )


async def resend_overdue(db: Connection) -> list[tuple[str, Message]]:
    """Chunks whose message is lost: the ledger is the truth, the message was only a hint."""
    return [("", load) for load in await queries.claim_overdue(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)]


async def _merge(command: LoadChunk, db: Connection, chunk: queries.Chunk, rows: bytes) -> Outcome:
    """Some keys are there already. In the order of the file, so that of two rows with one key the later one wins."""
    waiting, lost = await queries.select_earlier(db, command.job_id, command.chunk)
    if lost:
        raise Permanent(Problem(code="earlier_chunk_failed", detail="An earlier part of the file could not be loaded."))
    if waiting:
        raise Postponed
    dataset, columns = chunk.dataset, chunk.dialect.columns
    siblings = await queries.select_siblings(db, command.job_id)
    for statement in merging.create_stage(dataset, columns):
        await db.execute(statement)
    await queries.copy_rows(db, "stage", copied_columns(chunk.dialect), rows, schema=None)
    await db.execute("ANALYZE stage")
    repeats = await db.execute(merging.drop_repeats(dataset))
    duplicates = int(repeats.split()[-1])
    inserted = updated = unchanged = 0
    for _ in range(ROUNDS):
        same, repeated = await queries.merge_step(db, merging.drop_unchanged(dataset, columns), siblings, chunk.ledger)
        changed, beaten = await queries.merge_step(
            db, merging.update_changed(dataset, columns), siblings, chunk.ledger, dataset.name
        )
        inserted += await db.fetchval(merging.insert_new(dataset, columns))
        updated += changed
        unchanged += same
        duplicates += repeated + beaten
        if not await db.fetchval("SELECT EXISTS (SELECT FROM stage)"):
            return Outcome(inserted=inserted, updated=updated, unchanged=unchanged, duplicates=duplicates)
    raise Postponed


async def _make_partitions(db: Connection, dataset: Dataset, batch: Batch) -> None:
    if dataset.partition_by is None or not batch.rows.height:
        return
    years = batch.rows[dataset.partition_by.field].dt.year().unique().to_list()
    if await queries.select_missing_years(db, dataset, years):
        await queries.lock_declarations(db)
        for year in await queries.select_missing_years(db, dataset, years):
            await queries.create_partition(db, dataset, year)


def _cuts(file: BinaryIO, dialect: Dialect, size: int) -> list[Cut]:
    return list(cut(file, dialect, size=size))


def _file_is_gone() -> Problem:
    return Problem(
        code="file_missing",
        detail="The uploaded file is no longer in the spool.",
        hint="Import the file again; if it happens again, check that all services share one SPOOL_URL.",
    )


def _show_zeros(dataset: str) -> None:
    """So that the first rows are an increase for those who watch, and not the beginning of a series."""
    for word in FATES:
        metrics.ROWS.labels(dataset, word)


def _tell(dataset: str, outcome: Outcome, batch: Batch) -> None:
    for word in FATES:
        metrics.ROWS.labels(dataset, word).inc(getattr(outcome, word))
    for row in batch.failed:
        for error in row.errors:
            metrics.FAILED_ROWS.labels(dataset, error.code).inc()
