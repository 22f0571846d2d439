"""Results of search jobs, which the indexer stores, read page by page."""

import datetime as dt
from decimal import Decimal
from uuid import UUID

import msgspec

from services.gateway.jobs.job import JobBody
from shared.db import Connection
from shared.reads.indexer import searches
from shared.search.query import Facet, Hit, Meta, SearchResults, Total

HIT_DECODER = msgspec.json.Decoder(Hit, float_hook=Decimal)
RESULTS_DECODER = msgspec.json.Decoder(SearchResults, float_hook=Decimal)
DEFAULT_LIMIT = 10


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the stored hits. `hits` is the number of stored hits, `total` the number of matching rows.

    `next` is the cursor of the hits after the stored ones, if there are more.
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
    """A search job with its result.

    `result` is null until the job has succeeded, and again after `expires_at`: then the job is `expired`.
    """

    result: SearchResult | None
    expired: bool


async def add_result(db: Connection, job: JobBody, page: int | None = None, limit: int | None = None) -> SearchJobBody:
    """Adds a page of the stored hits."""
    succeeded = job.status == "succeeded"
    result = await select_result(db, job.id, page or 1, limit or DEFAULT_LIMIT) if succeeded else None
    return SearchJobBody(**msgspec.structs.asdict(job), result=result, expired=succeeded and result is None)


async def select_result(db: Connection, job_id: UUID, page: int, limit: int) -> SearchResult | None:
    """Selects a page of the stored hits; None if they have expired."""
    first = (page - 1) * limit + 1
    stored = await searches.select_search(db, job_id, first=first, last=first + limit - 1)
    if stored is None:
        return None
    answer = RESULTS_DECODER.decode(stored.answer)
    return SearchResult(
        data=[HIT_DECODER.decode(hit) for hit in stored.shown],
        total=answer.total,
        facets=answer.facets,
        meta=answer.meta,
        next=answer.next,
        hits=stored.hits,
        page=page,
        limit=limit,
        expires_at=stored.expires_at,
    )
