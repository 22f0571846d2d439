"""GET /v1/datasets/{dataset}/index: the state of a search index."""

import datetime as dt
from uuid import UUID

import msgspec
from litestar import get

from services.gateway.catalog import Catalog
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.search.search_request import check_searchable
from shared.db import Connection, Pool
from shared.reads.indexer.index import select_state


class Building(msgspec.Struct, frozen=True):
    """The progress of the next generation of documents. `job` is null if a change of the declaration began it."""

    generation: int
    job: UUID | None
    pieces: int
    pieces_done: int
    percent: float
    began_at: dt.datetime


class IndexBody(msgspec.Struct, frozen=True, kw_only=True):
    """The search index of a dataset, and the new generation that is being built to replace it.

    `generation` is null until the first one is complete. `documents` is an estimate, `words` the number of different
    words. Searches find everything up to `version`.
    """

    generation: int | None
    made_at: dt.datetime | None
    documents: int
    words: int
    version: int
    dataset_version: int
    building: Building | None


@get(
    "/v1/datasets/{dataset:str}/index",
    tags=["search"],
    summary="Read the state of a dataset's search index",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def read_index(pool: Pool, catalog: Catalog, dataset: str) -> Answer[IndexBody]:
    """Returns the state of the index."""
    check_searchable(await catalog.dataset(pool, dataset))
    async with pool.acquire() as db:
        return Answer(await select_body(db, dataset))


async def select_body(db: Connection, dataset: str) -> IndexBody:
    """Selects the state of the index. Raises LookupError if there is no such dataset."""
    state = await select_state(db, dataset)
    building = None
    if state.next is not None and state.began_at is not None:
        percent = round(100 * state.done / state.pieces, 1) if state.pieces else 0.0
        building = Building(state.next, state.job_id, state.pieces, state.done, percent, state.began_at)
    return IndexBody(
        generation=state.generation,
        made_at=state.made_at,
        documents=state.documents,
        words=state.words,
        version=state.version,
        dataset_version=state.dataset_version,
        building=building,
    )
