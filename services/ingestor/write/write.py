"""Writes good rows to their table: by COPY, or by an upsert if the table contains some of their keys."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.parse.parser import Batch, fail_rows
from services.ingestor.parse.row_errors import RowError
from services.ingestor.write import copy_turns, partitions, queries, upsert_sql
from services.ingestor.write.binary_copy import CHUNK, ROW, to_copy
from shared.bus.failures import NotReady, PermanentFailure
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection

SAMPLED_KEYS = 16
SMALL = 1000
"""Rows that Postgres compares one by one, by the index of their key."""
ROUNDS = 5
LONGEST_WAIT_SECONDS = 3.0
POLL_SECONDS = 0.02


class Comparison(NamedTuple):
    """Staged rows compared with the table: how many need no write, and the numbers of the others."""

    unchanged: int
    duplicates: int
    """Rows that a later chunk of the job supersedes."""
    fresh: list[int]
    changed: list[int]
    taken: list[int]
    """Rows whose key exists, which `mode=insert` refuses."""


async def write(db: Connection, chunk: Chunk, batch: Batch) -> tuple[Outcome, Batch]:
    """Writes the good rows. Returns the outcome, and the batch with the rows that the table refused as failed ones.

    Raises NotReady while it is undecided which of two rows is the later one, or a year is being detached.
    """
    if not batch.rows.height:
        return Outcome(), batch
    dataset = chunk.dataset
    await partitions.create_partitions(db, dataset, batch.rows)
    if not dataset.keyed:
        await _copy(db, chunk, batch.rows)
        return Outcome(inserted=batch.rows.height), batch
    if not await queries.has_any_key(db, dataset, _sample_keys(dataset, batch.rows)):
        try:
            await _copy(db, chunk, batch.rows)
        except queries.DuplicateKey:
            pass
        else:
            return Outcome(inserted=batch.rows.height), batch
    return await _upsert(db, chunk, batch)


async def _copy(db: Connection, chunk: Chunk, rows: pl.DataFrame) -> None:
    marked = rows.with_columns(pl.lit(chunk.ledger, pl.Int64).alias(CHUNK))
    data = await asyncio.to_thread(to_copy, marked, chunk.dataset.fields)
    async with copy_turns.take(db, chunk.dataset.name, data):
        await queries.copy_rows(db, chunk.dataset.name, marked.columns, data, schema="data")


def _sample_keys(dataset: Dataset, rows: pl.DataFrame) -> dict[str, list[Any]]:
    """Returns keys from all over the chunk: if the table contains one of them, COPY would fail."""
    sample = rows.select(dataset.key).gather_every(max(1, rows.height // SAMPLED_KEYS))
    return {name: sample[name].to_list() for name in dataset.key}


async def _upsert(db: Connection, chunk: Chunk, batch: Batch) -> tuple[Outcome, Batch]:
    dataset, columns = chunk.dataset, tuple(batch.rows.columns)
    staged = batch.rows.with_row_index(ROW).cast({ROW: pl.Int64})
    staged = staged.unique(subset=list(dataset.key), keep="last", maintain_order=True)
    await queries.lock_rows(db, dataset.name)
    await _stage(db, dataset, columns, staged)
    repeated = batch.rows.height - staged.height
    ledger_numbers = await chunk_ledger.select_ledger_numbers(db, chunk.job_id)
    inserted = updated = superseded = 0
    for _ in range(ROUNDS):
        comparison = await _compare(db, chunk, columns, staged, ledger_numbers)
        if comparison.changed:
            row = await db.fetchrow(
                upsert_sql.update_changed(dataset, columns),
                chunk.ledger,
                ledger_numbers,
                comparison.changed,
                timeout=queries.COPY_SECONDS,
            )
            updated += row["updated"] if row else 0
            superseded += row["duplicates"] if row else 0
        if comparison.fresh:
            status = await db.execute(
                upsert_sql.insert_fresh(dataset, columns),
                chunk.ledger,
                comparison.fresh,
                timeout=queries.COPY_SECONDS,
            )
            inserted += int(status.split()[-1])
        duplicates = superseded + comparison.duplicates
        if inserted + updated + duplicates + comparison.unchanged + len(comparison.taken) == staged.height:
            outcome = Outcome(
                inserted=inserted,
                updated=updated,
                unchanged=comparison.unchanged,
                duplicates=repeated + duplicates,
            )
            refused = {number: _key_exists(dataset, batch.rows, number) for number in comparison.taken}
            return outcome, fail_rows(batch, refused) if refused else batch
    raise NotReady


async def _stage(db: Connection, dataset: Dataset, columns: tuple[str, ...], staged: pl.DataFrame) -> None:
    data = await asyncio.to_thread(to_copy, staged, dataset.fields)
    name = upsert_sql.stage_name(dataset, columns)
    await db.execute(upsert_sql.create_stage(dataset, columns))
    await queries.copy_rows(db, name, staged.columns, data, schema=None)
    if staged.height > SMALL:
        await db.execute("SET LOCAL work_mem = '64MB'")  # Postgres hashes a whole chunk


async def _compare(
    db: Connection, chunk: Chunk, columns: tuple[str, ...], staged: pl.DataFrame, ledger_numbers: Sequence[int]
) -> Comparison:
    """Compares the staged rows with the table until its unchanged rows are sure.

    An unchanged row is not written, so an earlier chunk that is loaded later could not see that its row is superseded.
    Therefore the earlier chunks must be loaded before a row counts as unchanged.
    """
    first = staged[chunk.dataset.key[0]]
    bounds = [first.min(), first.max()] if upsert_sql.has_ordered_key(chunk.dataset) else []
    insert_only = chunk.load_options.mode == "insert"
    statement = upsert_sql.compare(chunk.dataset, columns)
    before = await chunk_ledger.select_earlier_chunks(db, chunk.job_id, chunk.chunk)
    while True:
        (row,) = await db.fetch(
            statement, chunk.ledger, ledger_numbers, insert_only, *bounds, timeout=queries.COPY_SECONDS
        )
        comparison = Comparison(**row)
        if not comparison.unchanged or not before.waiting:
            return comparison
        after = await _wait_for_earlier_chunks(db, chunk)
        if after.written == before.written:
            return comparison
        before = after


async def _wait_for_earlier_chunks(db: Connection, chunk: Chunk) -> chunk_ledger.EarlierChunks:
    """Returns when all are loaded. Raises NotReady if that takes too long, PermanentFailure if one of them gave up."""
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while (earlier := await chunk_ledger.select_earlier_chunks(db, chunk.job_id, chunk.chunk)).waiting:
        if earlier.lost:
            detail = "An earlier chunk of the file could not be loaded."
            raise PermanentFailure(Problem(code="earlier_chunk_failed", detail=detail))
        if time.monotonic() > until:
            raise NotReady
        await asyncio.sleep(POLL_SECONDS)
    return earlier


def _key_exists(dataset: Dataset, rows: pl.DataFrame, number: int) -> RowError:
    key = ",".join(str(rows[name][number]) for name in dataset.key)
    names = ",".join(dataset.key)
    return RowError(
        "key_exists", names, key, f"A row with this {names} exists already, and mode=insert changes no rows."
    )
