"""GET /v1/datasets/{dataset}/index and POST …/reindexes: the state of a search index, and rebuilding it."""

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID, uuid4, uuid5

import msgspec
from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec

from services.gateway.catalog import Catalog
from services.gateway.http import preferences
from services.gateway.http.parameters import IdempotencyKey, Prefer
from services.gateway.http.polling import poll
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.search.search_request import check_searchable
from shared.bus import ledger, outbox
from shared.bus.relay import Relay
from shared.contracts.commands import BuildIndex
from shared.db import Connection, Pool, transaction
from shared.reads.indexer.index import select_state

RETRY_SECONDS = 1
REQUEST_IDS = UUID("7265696e-6465-4865-8000-000000000000")
"""The namespace of ids that are derived from idempotency keys."""


class Building(msgspec.Struct, frozen=True):
    """The progress of the next generation of documents."""

    generation: int
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


@post(
    "/v1/datasets/{dataset:str}/reindexes",
    tags=["search"],
    summary="Rebuild the search index of a dataset",
    description="Searches use the old index until the new one is complete. A rebuild is only needed after somebody has"
    " changed the tables by hand. `Prefer: wait=N` waits until the new index is in use; GET …/index shows progress.",
    opt={"scope": "admin"},
    status_code=202,
    responses={
        **responses(404, 422),
        200: ResponseSpec(data_container=IndexBody, description="The new index is in use"),
    },
)
async def reindex(
    request: Request[Any, Any, Any],
    pool: Pool,
    catalog: Catalog,
    relay: Relay,
    stopping: asyncio.Event,
    dataset: str,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Answer[IndexBody]:
    """Starts a rebuild; one that is running starts again."""
    check_searchable(await catalog.dataset(pool, dataset))
    name = f"{request.user.id}/{dataset}/{idempotency_key}"
    command = BuildIndex(dataset=dataset, request_id=uuid5(REQUEST_IDS, name) if idempotency_key else uuid4())
    async with transaction(pool) as db:
        await outbox.insert_messages(db, [command])
    relay.wake()
    seconds = preferences.wait_seconds(prefer)

    async def look() -> tuple[bool, IndexBody]:
        async with pool.acquire() as db:
            handled = await ledger.has_ended(db, "indexer", command.id)
            body = await select_body(db, dataset)
        return handled and body.building is None, body

    ready, body = await poll(look, lambda result: result[0], seconds=seconds or 0, stopping=stopping)
    if ready:
        headers = {"Preference-Applied": f"wait={seconds}"} if seconds is not None else {}
        return Answer(body, status_code=200, headers=headers)
    headers = {"Location": f"/v1/datasets/{dataset}/index", "Retry-After": str(RETRY_SECONDS)}
    return Answer(body, status_code=202, headers=headers)


async def select_body(db: Connection, dataset: str) -> IndexBody:
    """Selects the state of the index. Raises LookupError if there is no such dataset."""
    state = await select_state(db, dataset)
    building = None
    if state.next is not None and state.began_at is not None:
        percent = round(100 * state.done / state.pieces, 1) if state.pieces else 0.0
        building = Building(state.next, state.pieces, state.done, percent, state.began_at)
    return IndexBody(
        generation=state.generation,
        made_at=state.made_at,
        documents=state.documents,
        words=state.words,
        version=state.version,
        dataset_version=state.dataset_version,
        building=building,
    )
