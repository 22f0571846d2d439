"""Merges rows into their table through a stage: compares them with the table, updates, inserts, counts by chunk."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk, EarlierChunks
from services.ingestor.parse.row_errors import RowError
from services.ingestor.threads import offload
from services.ingestor.write import queries, runs, upsert_sql
from services.ingestor.write.binary_copy import CHUNK, ROW, to_copy
from shared.bus.failures import NotReady, PermanentFailure
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection

SMALL = 1000
"""Rows that Postgres compares one by one, by the index of their key."""
ROUNDS = 5
LONGEST_WAIT_SECONDS = 3.0
POLL_SECONDS = 0.02


class Written(NamedTuple):
    """The outcomes of chunks by ledger number, and the errors of rows that the table refused, by their place."""

    outcomes: dict[int, Outcome]
    refused: dict[int, RowError]


class Stage(NamedTuple):
    """The staged rows of one chunk, or of several that are each the only one of their job."""

    chunks: Sequence[Chunk]
    dataset: Dataset
    columns: tuple[str, ...]
    rows: pl.DataFrame
    heights: list[int]
    """The number of rows in each run."""
    siblings: list[int]
    """The ledger numbers of all chunks of the job, if it has several."""


class Comparison(NamedTuple):
    """Staged rows compared with the table: by chunk those that need no write, and the numbers of the others."""

    unchanged: dict[int, int]
    duplicates: dict[int, int]
    """Rows that a later chunk of the job supersedes."""
    fresh: list[int]
    changed: list[int]
    taken: list[int]
    """Rows whose key exists, which `mode=insert` refuses."""


async def merge(db: Connection, chunks: Sequence[Chunk], rows: pl.DataFrame) -> Written:
    """Writes the rows that are new or differ. Raises NotReady like `write.write`."""
    dataset = chunks[0].dataset
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for ledger, number in rows[CHUNK].value_counts(name="rows").iter_rows():
        counts[ledger]["duplicates"] += number
    split = runs.split(rows, dataset.key)
    for ledger, number in split.rows[CHUNK].value_counts(name="rows").iter_rows():
        counts[ledger]["duplicates"] -= number
    stage = await _stage(db, chunks, split)
    taken: list[int] = []
    first = 0
    for height in split.heights:
        taken += await _merge_run(db, stage, first, first + height - 1, counts)
        first += height
    return Written(
        {ledger: Outcome(**outcome) for ledger, outcome in counts.items()},
        {split.places[number]: _key_exists(dataset, split.rows, number) for number in taken},
    )


async def _stage(db: Connection, chunks: Sequence[Chunk], split: runs.Runs) -> Stage:
    dataset = chunks[0].dataset
    rows = split.rows.with_row_index(ROW).cast({ROW: pl.Int64})
    columns = tuple(name for name in split.rows.columns if name != CHUNK)
    has_siblings = chunks[0].has_siblings
    siblings = await chunk_ledger.select_ledger_numbers(db, chunks[0].job_id) if has_siblings else []
    data = await offload(int(rows.estimated_size()), to_copy, rows, dataset.fields)
    name = upsert_sql.stage_name(dataset, columns)
    statements = [upsert_sql.lock_table(dataset), upsert_sql.create_stage(dataset, columns)]
    statements.append(f"DELETE FROM {name}")  # rows that this transaction has merged already
    if rows.height > SMALL:
        statements.append("SET LOCAL work_mem = '64MB'")  # Postgres hashes a whole chunk
    await db.execute("; ".join(statements), timeout=queries.COPY_SECONDS)
    await queries.copy_rows(db, name, rows.columns, data, schema=None)
    if len(split.heights) > 1:
        # A run locks its rows in the order of their keys; two transactions of several runs would wait in a circle.
        await db.execute(upsert_sql.lock_rows(dataset, columns), timeout=queries.COPY_SECONDS)
    return Stage(chunks, dataset, columns, rows, split.heights, siblings)


async def _merge_run(db: Connection, stage: Stage, first: int, last: int, counts: dict[int, Counter[str]]) -> list[int]:
    """Merges the staged rows `first` to `last`, adds to the counts and returns the numbers of rows that are taken."""
    written = 0
    for _ in range(ROUNDS):
        comparison = await _compare(db, stage, first, last)
        if comparison.changed:
            statement = upsert_sql.update_changed(stage.dataset, stage.columns)
            for row in await _fetch(db, statement, stage.siblings, comparison.changed):
                counts[row["ledger"]].update(updated=row["updated"], duplicates=row["duplicates"])
                written += row["updated"] + row["duplicates"]
        if comparison.fresh:
            statement = upsert_sql.insert_fresh(stage.dataset, stage.columns)
            for row in await _fetch(db, statement, comparison.fresh):
                counts[row["ledger"]].update(inserted=row["inserted"])
                written += row["inserted"]
        unwritten = sum(comparison.unchanged.values()) + sum(comparison.duplicates.values()) + len(comparison.taken)
        if written + unwritten == last - first + 1:
            for ledger, number in comparison.unchanged.items():
                counts[ledger].update(unchanged=number, duplicates=comparison.duplicates[ledger])
            return comparison.taken
    raise NotReady


async def _compare(db: Connection, stage: Stage, first: int, last: int) -> Comparison:
    """Compares the staged rows with the table until its unchanged rows are sure.

    An unchanged row is not written, so an earlier chunk that is loaded later could not see that its row is superseded.
    Therefore the earlier chunks must be loaded before a row counts as unchanged.
    """
    chunk, dataset = stage.chunks[0], stage.dataset
    in_runs = len(stage.heights) > 1
    keys = stage.rows[dataset.key[0]]
    parameters: list[Any] = [stage.siblings, chunk.load_options.mode == "insert"]
    parameters += [keys.min(), keys.max()] if upsert_sql.has_ordered_key(dataset) else []
    parameters += [first, last] if in_runs else []
    statement = upsert_sql.compare(dataset, stage.columns, in_runs=in_runs, alone=len(stage.chunks) == 1)
    before = await _select_earlier_chunks(db, chunk)
    while True:
        rows = await _fetch(db, statement, *parameters)
        comparison = Comparison(
            {row["ledger"]: row["unchanged"] for row in rows},
            {row["ledger"]: row["duplicates"] for row in rows},
            *([number for row in rows for number in row[name]] for name in ("fresh", "changed", "taken")),
        )
        if not any(comparison.unchanged.values()) or not before.waiting:
            return comparison
        after = await _wait_for_earlier_chunks(db, chunk)
        if after.written == before.written:
            return comparison
        before = after


async def _fetch(db: Connection, statement: str, *parameters: Any) -> Sequence[Any]:
    return await db.fetch(statement, *parameters, timeout=queries.COPY_SECONDS)


async def _select_earlier_chunks(db: Connection, chunk: Chunk) -> EarlierChunks:
    if chunk.chunk == 1:
        return EarlierChunks(0, 0, 0)
    return await chunk_ledger.select_earlier_chunks(db, chunk.job_id, chunk.chunk)


async def _wait_for_earlier_chunks(db: Connection, chunk: Chunk) -> EarlierChunks:
    """Returns when all are loaded. Raises NotReady if that takes too long, PermanentFailure if one of them gave up."""
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while (earlier := await _select_earlier_chunks(db, chunk)).waiting:
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
