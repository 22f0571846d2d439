"""Rows as a file, CSV or NDJSON, however many they are: in pieces, each read when the one before it is sent."""

import contextlib
import csv
import io
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

import msgspec

from services.gateway.answers import ENCODER, defused
from services.gateway.asking import Question
from services.gateway.problems import Problem
from services.gateway.reading import Stream
from shared.db import Pool, transaction

AT_ONCE = 8
PIECE_BYTES = 256 << 10
FIRST_ROWS, MOST_ROWS = 20, 2000
"""Of a piece. How many fit is learnt from the piece before it, since a row may have megabytes."""

Row = Sequence[Any]


class Form(Protocol):
    """How a file is written."""

    media_type: str
    ending: str

    def begin(self) -> bytes:
        """What stands before the rows."""

    def lines(self, rows: Sequence[Row]) -> bytes:
        """A record for each."""


class Csv:
    """With a header. Values are written as an import reads them; without one there is nothing."""

    media_type = "text/csv"
    ending = "csv"

    def __init__(self, columns: Sequence[str], *, defuse: bool) -> None:
        self._columns = columns
        self._defuse = defuse

    def begin(self) -> bytes:
        """The header."""
        return _written([self._columns])

    def lines(self, rows: Sequence[Row]) -> bytes:
        """In the order of the columns."""
        return _written([[self._cell(value) for value in row] for row in rows])

    def _cell(self, value: Any) -> Any:
        kind = type(value)  # not isinstance: of a million rows, this is what takes the time
        if kind is str:
            return defused(value) if self._defuse else value
        if value is None or kind is int or kind is float:
            return value
        if kind is bool:
            return "true" if value else "false"
        text = msgspec.to_builtins(value)
        return text if isinstance(text, str) else msgspec.json.encode(text).decode()


class Ndjson:
    """An object a line, written as in a page."""

    media_type = "application/x-ndjson"
    ending = "ndjson"

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def lines(self, rows: Sequence[Row]) -> bytes:
        """Each with its line end."""
        return ENCODER.encode_lines([dict(zip(self._columns, row, strict=True)) for row in rows])


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


def _written(rows: Sequence[Row]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
