"""How good rows come into their table: copied straight in, or, where some of their keys are already, merged."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import polars as pl

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.parse.parser import Batch, RowError, refuse
from services.ingestor.write import partitions, queries, upsert_sql
from services.ingestor.write.binary_copy import CHUNK, ROW, to_copy
from shared.bus.failures import NotReady, PermanentFailure
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection

PROBES = 16
SMALL = 1000
"""Rows that are compared one by one, by the index of their key."""
ROUNDS = 5
PATIENCE_SECONDS = 3.0
LOOK_SECONDS = 0.02


async def write(db: Connection, chunk: Chunk, batch: Batch) -> tuple[Outcome, Batch]:
    """Writes the good rows. Returns what became of them, and the batch without those that the table refused.

    Raises NotReady while it must not be decided yet which of two rows is the later one, or a year is being detached.
    """
    if not batch.rows.height:
        return Outcome(), batch
    dataset = chunk.dataset
    await partitions.make_partitions(db, dataset, batch.rows)
    if not dataset.keyed:
        await _copy(db, chunk, batch.rows)
        return Outcome(inserted=batch.rows.height), batch
    if not await queries.has_any(db, dataset, _probes(dataset, batch.rows)):
        try:
            await _copy(db, chunk, batch.rows)
        except queries.KeyTaken:
            pass
        else:
            return Outcome(inserted=batch.rows.height), batch
    return await _merge(db, chunk, batch)


async def _copy(db: Connection, chunk: Chunk, rows: pl.DataFrame) -> None:
    marked = rows.with_columns(pl.lit(chunk.ledger, pl.Int64).alias(CHUNK))
    data = await asyncio.to_thread(to_copy, marked, chunk.dataset.fields)
    await queries.copy_rows(db, chunk.dataset.name, marked.columns, data, schema="data")


def _probes(dataset: Dataset, rows: pl.DataFrame) -> dict[str, list[Any]]:
    """Keys from all over the chunk: if one of them is there already, copying would be in vain."""
    sample = rows.select(dataset.key).gather_every(max(1, rows.height // PROBES))
    return {name: sample[name].to_list() for name in dataset.key}


async def _merge(db: Connection, chunk: Chunk, batch: Batch) -> tuple[Outcome, Batch]:
    dataset, columns = chunk.dataset, tuple(batch.rows.columns)
    staged = batch.rows.with_row_index(ROW).cast({ROW: pl.Int64})
    staged = staged.unique(subset=list(dataset.key), keep="last", maintain_order=True)
    await queries.lock_rows(db, dataset.name)
    await _stage(db, dataset, columns, staged)
    repeats = batch.rows.height - staged.height
    siblings = await chunk_ledger.select_siblings(db, chunk.job_id)
    inserted = updated = beaten = 0
    for _ in range(ROUNDS):
        met = await _compare(db, chunk, columns, staged, siblings)
        if met["changed"]:
            row = await db.fetchrow(
                upsert_sql.update_changed(dataset, columns),
                chunk.ledger,
                siblings,
                met["changed"],
                timeout=queries.COPY_SECONDS,
            )
            updated += row["updated"] if row else 0
            beaten += row["duplicates"] if row else 0
        if met["fresh"]:
            status = await db.execute(
                upsert_sql.insert_fresh(dataset, columns), chunk.ledger, met["fresh"], timeout=queries.COPY_SECONDS
            )
            inserted += int(status.split()[-1])
        if inserted + updated + beaten + met["unchanged"] + met["duplicates"] + len(met["taken"]) == staged.height:
            duplicates = repeats + beaten + met["duplicates"]
            written = Outcome(inserted=inserted, updated=updated, unchanged=met["unchanged"], duplicates=duplicates)
            refused = {number: _taken(dataset, batch.rows, number) for number in met["taken"]}
            return written, refuse(batch, refused) if refused else batch
    raise NotReady


async def _stage(db: Connection, dataset: Dataset, columns: tuple[str, ...], staged: pl.DataFrame) -> None:
    data = await asyncio.to_thread(to_copy, staged, dataset.fields)
    name = upsert_sql.stage_name(dataset, columns)
    await db.execute(upsert_sql.create_stage(dataset, columns))
    await queries.copy_rows(db, name, staged.columns, data, schema=None)
    if staged.height > SMALL:
        await db.execute("SET LOCAL work_mem = '64MB'")  # a whole chunk is hashed at once


async def _compare(
    db: Connection, chunk: Chunk, columns: tuple[str, ...], staged: pl.DataFrame, siblings: Sequence[int]
) -> dict[str, Any]:
    """What `merging.compare` tells.

    An unchanged row is not touched, so an earlier chunk that comes later could not tell that it was beaten. Before
    anything is called unchanged, the earlier ones must be in.
    """
    first = staged[chunk.dataset.key[0]]
    bounds = [first.min(), first.max()] if upsert_sql.ranged(chunk.dataset) else []
    refused = chunk.load_options.mode == "insert"
    statement = upsert_sql.compare(chunk.dataset, columns)
    before = await chunk_ledger.select_earlier(db, chunk.job_id, chunk.chunk)
    while True:
        row = await db.fetchrow(statement, chunk.ledger, siblings, refused, *bounds, timeout=queries.COPY_SECONDS)
        met = {
            word: value or [] if word in ("fresh", "changed", "taken") else value for word, value in (row or {}).items()
        }
        if not met["unchanged"] or not before.waiting:
            return met
        after = await _earlier_ones(db, chunk)
        if after.written == before.written:
            return met
        before = after


async def _earlier_ones(db: Connection, chunk: Chunk) -> chunk_ledger.Earlier:
    """Once all of them are loaded. Raises NotReady if that takes long, and PermanentFailure if it can't be."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (earlier := await chunk_ledger.select_earlier(db, chunk.job_id, chunk.chunk)).waiting:
        if earlier.lost:
            detail = "An earlier part of the file could not be loaded."
            raise PermanentFailure(Problem(code="earlier_chunk_failed", detail=detail))
        if time.monotonic() > until:
            raise NotReady
        await asyncio.sleep(LOOK_SECONDS)
    return earlier


def _taken(dataset: Dataset, rows: pl.DataFrame, number: int) -> RowError:
    key = ",".join(str(rows[name][number]) for name in dataset.key)
    names = ",".join(dataset.key)
    return RowError(
        "key_exists", names, key, f"There is a row with this {names} already, and mode=insert changes none."
    )
