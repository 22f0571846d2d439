"""Rows as a file, CSV or NDJSON, however many they are: in pieces, each read when the one before it is sent."""

import contextlib
from collections.abc import AsyncGenerator

from services.gateway.http.formats import Form
from services.gateway.http.problems import Problem
from services.gateway.http.row_query import Question
from services.gateway.rows.queries import Stream
from shared.db import Pool, transaction

AT_ONCE = 8
PIECE_BYTES = 256 << 10
FIRST_ROWS, MOST_ROWS = 20, 2000
"""Of a piece. How many fit is learnt from the piece before it, since a row may have megabytes."""


class Downloads:
    """Those that run. Each keeps a connection for as long as its client reads, so there can't be many."""

    def __init__(self) -> None:
        self._running = 0

    async def begin(
        self, pool: Pool, question: Question, form: Form, *, ordered: bool, limit: int | None
    ) -> AsyncGenerator[bytes, None]:
        """The pieces. The first one has been read, so whatever keeps the question from being answered is raised here.

        Raises Problem 503, TooSlow. Behind that, a failure breaks the answer off: no client takes it for a whole one.
        """
        pieces = self._pieces(pool, question, form, ordered=ordered, limit=limit)
        return _from(await anext(pieces), pieces)

    async def _pieces(
        self, pool: Pool, question: Question, form: Form, *, ordered: bool, limit: int | None
    ) -> AsyncGenerator[bytes, None]:
        if self._running >= AT_ONCE:
            raise Problem(
                503,
                "too_many_downloads",
                f"{AT_ONCE} downloads run, and each takes a connection to the database.",
                hint="Try again when one of them has ended.",
                headers={"Retry-After": "10"},
            )
        self._running += 1
        try:
            async with transaction(pool) as db:
                rows = await Stream.open(db, question, ordered=ordered, limit=limit)
                most = FIRST_ROWS
                piece = form.begin()
                found = await rows.fetch(most)
                while found:
                    piece += form.lines(found)
                    yield piece
                    most = max(1, min(MOST_ROWS, most * 2, len(found) * PIECE_BYTES // len(piece)))
                    piece = b""
                    found = await rows.fetch(most)
                yield piece
        finally:
            self._running -= 1


async def _from(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece
