"""Queries about stored results of search jobs."""

import datetime as dt
from uuid import UUID

import msgspec

from shared.db import Connection


class StoredSearch(msgspec.Struct, frozen=True, kw_only=True):
    """A result as JSON: the `shown` hits, and in `answer` everything but hits. `hits` is the number of all hits."""

    shown: list[str]
    hits: int
    answer: str
    expires_at: dt.datetime


async def select_search(db: Connection, job_id: UUID, *, first: int, last: int) -> StoredSearch | None:
    """Selects a result with its hits number `first` to `last`, from 1; None if it has expired."""
    row = await db.fetchrow(
        """
        SELECT hits[$2:$3]::text[] AS shown, cardinality(hits) AS hits, answer::text AS answer, expires_at
        FROM indexer.searches WHERE job_id = $1 AND expires_at > now()
        """,
        job_id,
        first,
        last,
    )
    return StoredSearch(**row) if row else None
