"""Writes good rows to their table: by COPY, or by an upsert if the table contains some of their keys."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from services.ingestor.chunk_ledger import Chunk
from services.ingestor.threads import offload
from services.ingestor.write import copy_turns, merge, partitions, queries
from services.ingestor.write.binary_copy import CHUNK, to_copy
from services.ingestor.write.merge import SMALL, Written
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Outcome
from shared.db import Connection

SAMPLED_KEYS = 16
"""Keys of a large chunk to look for before a COPY."""


async def write(db: Connection, chunks: Sequence[Chunk], rows: pl.DataFrame) -> Written:
    """Writes rows of a chunk, or of several that are each the only one of their job.

    The chunks have the same dataset and mode. `rows` are in the order of the input, with a column CHUNK. Of two rows
    with one key the later one wins: the result is that of writing one chunk after the other.

    Raises NotReady while it is undecided which of two rows is the later one, or a year is being detached.
    """
    if not rows.height:
        return Written({}, {})
    dataset = chunks[0].dataset
    await partitions.create_partitions(db, dataset, rows)
    if not dataset.keyed:
        await queries.copy_rows(db, dataset.name, rows.columns, await _encode(dataset, rows), schema="data")
        return _count_inserted(rows)
    # One chunk with a key twice is rare, and COPY finds it. In several chunks a key that comes again is no exception.
    is_repeated = len(chunks) > 1 and bool(rows.select(dataset.key).is_duplicated().any())
    if not is_repeated and not await queries.has_any_key(db, dataset, _sample_keys(dataset, rows)):
        data = await _encode(dataset, rows)
        try:
            async with copy_turns.take(db, dataset, data):
                await queries.copy_new_rows(db, dataset.name, rows.columns, data)
        except queries.DuplicateKey:
            pass
        else:
            return _count_inserted(rows)
    return await merge.merge(db, chunks, rows)


async def _encode(dataset: Dataset, rows: pl.DataFrame) -> list[bytes]:
    return await offload(int(rows.estimated_size()), to_copy, rows, dataset.fields)


def _count_inserted(rows: pl.DataFrame) -> Written:
    counts = rows[CHUNK].value_counts(name="rows").iter_rows()
    return Written({ledger: Outcome(inserted=count) for ledger, count in counts}, {})


def _sample_keys(dataset: Dataset, rows: pl.DataFrame) -> dict[str, list[Any]]:
    """Returns all keys, or some from all over many: if the table contains one of them, COPY would fail."""
    sample = rows if rows.height <= SMALL else rows.gather_every(rows.height // SAMPLED_KEYS)
    return {name: sample[name].to_list() for name in dataset.key}
