"""Answers of searches that were asked for as jobs: the indexer keeps them, and they are read page by page."""

import datetime as dt
from decimal import Decimal
from uuid import UUID

import msgspec

from services.gateway.job import JobBody
from shared.contracts.commands import RunSearch
from shared.contracts.events import SearchCompleted
from shared.contracts.message import Message
from shared.db import Connection
from shared.search.question import Facet, Found, Hit, Meta, Total

HIT = msgspec.json.Decoder(Hit, float_hook=Decimal)
FOUND = msgspec.json.Decoder(Found, float_hook=Decimal)
PAGE = 10
IDLE = """
    NOT EXISTS (SELECT FROM indexer.searches WHERE made_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (SELECT FROM indexer.chunks WHERE done_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (SELECT FROM indexer.pieces WHERE done_at > now() - $1 * interval '1 second')
"""
"""Whether the indexer has done nothing for so long: a search waits its turn, and for documents that are being made."""


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the hits that are kept, of which there are `hits`; `total` is how many rows match.

    `next` is the cursor of the hits behind those that are kept, if there are more.
    """

    data: list[Hit]
    total: Total
    facets: dict[str, Facet]
    meta: Meta
    next: str | None
    hits: int
    page: int
    limit: int
    expires_at: dt.datetime


class SearchJobBody(JobBody, frozen=True, kw_only=True):
    """A job that searches, with what it has found.

    `result` is null until the job has succeeded, and again from `expires_at` on: then it is `expired`.
    """

    result: SearchResult | None
    expired: bool


async def with_result(db: Connection, job: JobBody, page: int = 1, limit: int = PAGE) -> SearchJobBody:
    """Of a search."""
    succeeded = job.status == "succeeded"
    result = await select_result(db, job.id, page, limit) if succeeded else None
    return SearchJobBody(**msgspec.structs.asdict(job), result=result, expired=succeeded and result is None)


async def select_result(db: Connection, job_id: UUID, page: int, limit: int) -> SearchResult | None:
    """None for what has expired."""
    first = (page - 1) * limit + 1
    row = await db.fetchrow(
        """
        SELECT hits[$2:$3]::text[] AS shown, cardinality(hits) AS hits, answer::text AS answer, expires_at
        FROM indexer.searches WHERE job_id = $1 AND expires_at > now()
        """,
        job_id,
        first,
        first + limit - 1,
    )
    if row is None:
        return None
    answer = FOUND.decode(row["answer"])
    return SearchResult(
        data=[HIT.decode(hit) for hit in row["shown"]],
        total=answer.total,
        facets=answer.facets,
        meta=answer.meta,
        next=answer.next,
        hits=row["hits"],
        page=page,
        limit=limit,
        expires_at=row["expires_at"],
    )


async def select_unanswered(db: Connection, *, seconds: float, limit: int) -> list[Message]:
    """Searches that were accepted so long ago, though the indexer has done nothing else for so long."""
    rows = await db.fetch(
        f"""
        SELECT j.command::text AS command FROM jobs j
        WHERE j.kind = 'search' AND j.finished_at IS NULL AND j.created_at < now() - $1 * interval '1 second'
          AND NOT EXISTS (SELECT FROM indexer.searches s WHERE s.job_id = j.id)
          AND NOT EXISTS (SELECT FROM indexer.outbox o WHERE o.subject = j.id::text) -- put off, not lost
          AND {IDLE}
        ORDER BY j.created_at LIMIT $2
        """,
        seconds,
        limit,
    )
    return [msgspec.json.decode(row["command"], type=RunSearch) for row in rows]


async def select_unheard(db: Connection, *, seconds: float, limit: int) -> list[Message]:
    """Answers that are there for so long, and that we have not heard of."""
    rows = await db.fetch(
        """
        SELECT j.dataset, j.id AS job_id, cardinality(s.hits) AS hits,
               (s.answer->'total'->>'value')::bigint AS total, (s.answer->'meta'->>'version')::bigint AS version
        FROM jobs j JOIN indexer.searches s ON s.job_id = j.id
        WHERE j.finished_at IS NULL AND s.made_at < now() - $1 * interval '1 second' LIMIT $2
        """,
        seconds,
        limit,
    )
    return [SearchCompleted(**row) for row in rows]
