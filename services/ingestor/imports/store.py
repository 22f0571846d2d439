"""Stores the rows of chunks: those that can be parsed and written together at once."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec
import numpy as np
import polars as pl

from services.ingestor.chunk_ledger import LoadedChunk
from services.ingestor.imports import chunk_rows, replace
from services.ingestor.imports.chunk_rows import ChunkInput, ChunkRows
from services.ingestor.parse.parser import fail_rows
from services.ingestor.write import write
from services.ingestor.write.binary_copy import CHUNK
from services.ingestor.write.merge import Written
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Mode, Outcome
from shared.db import Connection

Shape = tuple[tuple[str, ...], Mode]


async def store(db: Connection, inputs: Sequence[ChunkInput]) -> list[LoadedChunk]:
    """Parses and writes chunks, in the order of their ledger numbers, with the result of one after the other.

    Each of several chunks is the only one of its job. Raises PermanentFailure, and NotReady like `write.write`.
    """
    loaded: list[LoadedChunk] = []
    for group in _group(inputs):
        loaded += await _store_dataset(db, group)
    return sorted(loaded, key=lambda item: item.chunk.ledger)


def _group(inputs: Sequence[ChunkInput]) -> Iterator[list[ChunkInput]]:
    """Yields the chunks of each dataset, by name; but a check of references reads what earlier chunks have written."""
    for alone, section in groupby(inputs, key=lambda item: item.chunk.load_options.check_references):
        if alone:
            yield from ([item] for item in section)
        else:
            by_name = sorted(section, key=lambda item: item.chunk.dataset.name)
            yield from (list(group) for _, group in groupby(by_name, key=lambda item: item.chunk.dataset.name))


async def _store_dataset(db: Connection, inputs: Sequence[ChunkInput]) -> list[LoadedChunk]:
    """Stores chunks of one dataset. Those of another shape are written apart, which only matters for a common key."""
    groups: dict[Shape, list[ChunkInput]] = {}
    for item in inputs:
        groups.setdefault(_shape(item), []).append(item)
    parsed = [await chunk_rows.parse(db, group) for group in groups.values()]
    if len(parsed) > 1 and _have_common_key(inputs[0].chunk.dataset, parsed):
        parsed = [await chunk_rows.parse(db, list(group)) for _, group in groupby(inputs, key=_shape)]
    return [loaded for rows in parsed for loaded in await _store_rows(db, rows)]


def _shape(item: ChunkInput) -> Shape:
    """Returns what chunks must have in common to be parsed and written at once."""
    return item.chunk.dialect.columns, item.chunk.load_options.mode


def _have_common_key(dataset: Dataset, parsed: Iterable[ChunkRows]) -> bool:
    if not dataset.keyed:
        return False
    keys = pl.concat([rows.batch.rows.select(dataset.key).unique() for rows in parsed])
    return bool(keys.is_duplicated().any())


async def _store_rows(db: Connection, rows: ChunkRows) -> list[LoadedChunk]:
    written, rows = await _write(db, rows)
    return [
        LoadedChunk(
            item.chunk,
            msgspec.structs.replace(written.get(item.chunk.ledger, Outcome()), rows_read=rows_read, failed=len(failed)),
            item.size,
            failed,
        )
        for item, rows_read, failed in zip(rows.inputs, rows.rows_read(), rows.failed(), strict=True)
    ]


async def _write(db: Connection, rows: ChunkRows) -> tuple[dict[int, Outcome], ChunkRows]:
    """Writes the good rows of each chunk, unless it is only checked, or is strict and has a failed row."""
    chunks = [item.chunk for item in rows.inputs]
    withheld = [
        chunk.load_options.validate_only or (chunk.load_options.strict and bool(failed))
        for chunk, failed in zip(chunks, rows.failed(), strict=True)
    ]
    places = rows.places()
    counts = np.bincount(places, minlength=len(chunks)).tolist()
    outcomes = {
        chunk.ledger: Outcome(checked=count)
        for chunk, count, held in zip(chunks, counts, withheld, strict=True)
        if held
    }
    if all(withheld):
        return outcomes, rows
    good = rows.batch.rows.with_columns(pl.Series(CHUNK, np.array([chunk.ledger for chunk in chunks])[places]))
    kept = np.flatnonzero(~np.array(withheld)[places])
    if outcomes:
        good = good[kept]
    if chunks[0].load_options.mode == "replace":
        await replace.copy_to_stage(db, chunks[0], good)
        return {chunks[0].ledger: Outcome(checked=good.height)}, rows
    written: Written = await write.write(db, chunks, good)
    refused = {int(kept[place]): error for place, error in written.refused.items()}
    batch = fail_rows(rows.batch, refused) if refused else rows.batch
    return outcomes | written.outcomes, rows._replace(batch=batch)
