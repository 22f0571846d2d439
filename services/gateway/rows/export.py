"""Downloads: streams any number of rows as CSV or NDJSON with backpressure."""

import contextlib
from collections.abc import AsyncGenerator

from services.gateway.http.formats import RowFormat
from services.gateway.http.problems import Problem
from services.gateway.http.row_query import RowQuery
from services.gateway.rows.queries import RowStream
from shared.db import Pool, transaction

MAX_DOWNLOADS = 8
IDLE_SECONDS = 600
"""How long a client may take to read a piece."""
PIECE_BYTES = 256 << 10
FIRST_ROWS, MOST_ROWS = 20, 2000
"""Rows per piece. The size of the previous piece decides how many, because a row may have megabytes."""


class Downloads:
    """The running downloads. Their number is limited: each holds a connection until its client has read all rows."""

    def __init__(self) -> None:
        self._running = 0

    async def start(
        self, pool: Pool, query: RowQuery, row_format: RowFormat, *, ordered: bool, limit: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Returns the pieces of the file, after reading the first one so that errors of the query are raised here.

        Raises Problem 503 or QueryTimeout. A later error aborts the response, so that clients see it is incomplete.
        """
        pieces = self._pieces(pool, query, row_format, ordered=ordered, limit=limit)
        return _chain(await anext(pieces), pieces)

    async def _pieces(
        self, pool: Pool, query: RowQuery, row_format: RowFormat, *, ordered: bool, limit: int | None
    ) -> AsyncGenerator[bytes, None]:
        if self._running >= MAX_DOWNLOADS:
            raise Problem(
                503,
                "too_many_downloads",
                f"{MAX_DOWNLOADS} downloads are running, and each needs a database connection.",
                hint="Retry when one of them has finished.",
                headers={"Retry-After": "10"},
            )
        self._running += 1
        try:
            async with transaction(pool) as db:
                await db.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
                rows = await RowStream.open(db, query, ordered=ordered, limit=limit)
                batch_rows = FIRST_ROWS
                piece = row_format.header()
                while batch := await rows.fetch(batch_rows):
                    piece += row_format.encode(batch)
                    yield piece
                    batch_rows = max(1, min(MOST_ROWS, batch_rows * 2, len(batch) * PIECE_BYTES // len(piece)))
                    piece = b""
                yield piece
        finally:
            self._running -= 1


async def _chain(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece
