"""Turns at Postgres: large COPYs queue, so that the chunks of a file do not slow each other down.

Of COPYs of rising keys into one table only one appends to the right edge of the key's index; the others descend the
tree for every row, which costs Postgres about a tenth more. On two cores one COPY runs while the next chunk is parsed.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence

from services.ingestor.write import queries, upsert_sql
from shared.catalog.dataset import Dataset
from shared.db import Connection

LARGE_BYTES = 1 << 20
"""Smaller COPYs do not queue, so that a batch does not wait for a file."""
TURNS = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))


@contextlib.asynccontextmanager
async def take(db: Connection, dataset: Dataset, pieces: Sequence[bytes]) -> AsyncIterator[None]:
    """Waits for a turn to copy these pieces into the dataset's table, if they are large.

    A COPY may wait for the commit of a transaction with the same key. That one must never wait for a turn: so a
    transaction takes one turn at most, before it has written a row of the table.
    """
    if sum(map(len, pieces)) < LARGE_BYTES:
        yield
        return
    # First, so that nobody keeps a turn while a swap has the table.
    await db.execute(upsert_sql.lock_table(dataset), timeout=queries.COPY_SECONDS)
    async with TURNS:
        yield
