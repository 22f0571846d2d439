"""GET /v1/datasets/{dataset}/index and POST …/reindexes: the documents that are searched, and making them anew."""

import asyncio
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.http import preferences
from services.gateway.http.polling import poll
from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.search import index_status, search_request
from services.gateway.search.index_status import IndexBody
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.contracts.commands import BuildIndex
from shared.db import Pool, transaction

RETRY_SECONDS = 1
SPACE = UUID("7265696e-6465-4865-8000-000000000000")


@get(
    "/v1/datasets/{dataset:str}/index",
    tags=["search"],
    summary="The documents that are searched, and those that are being built",
    opt={"scope": "read"},
    responses=responses(404, 422),
)
async def read_index(pool: Pool, catalog: Catalog, dataset: str) -> Answer[IndexBody]:
    """Of a searchable dataset."""
    search_request.refuse_unsearched(await catalog.dataset(pool, dataset))
    async with pool.acquire() as db:
        return Answer(await index_status.select_index(db, dataset))


@post(
    "/v1/datasets/{dataset:str}/reindexes",
    tags=["search"],
    summary="Make all documents of a dataset anew",
    description="The old ones answer until the new ones are complete. It is only needed if somebody has meddled with"
    " the tables. `Prefer: wait=N` waits until the new ones answer; GET …/index tells how far they are.",
    opt={"scope": "admin"},
    status_code=202,
    responses={**responses(404, 422), 200: ResponseSpec(data_container=IndexBody, description="The new ones answer")},
)
async def reindex(
    request: Request[Any, Any, Any],
    pool: Pool,
    catalog: Catalog,
    relay: Relay,
    stopping: asyncio.Event,
    dataset: str,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[IndexBody]:
    """A build that is under way begins again."""
    search_request.refuse_unsearched(await catalog.dataset(pool, dataset))
    known = f"{request.user.id}/{dataset}/{idempotency_key}"
    command = BuildIndex(dataset=dataset, request_id=uuid5(SPACE, known) if idempotency_key else uuid4())
    async with transaction(pool) as db:
        await outbox.insert_messages(db, [command])
    relay.wake()
    seconds = preferences.wait_seconds(prefer)

    async def look() -> tuple[bool, IndexBody]:
        async with pool.acquire() as db:
            heard = await index_status.is_asked_for(db, command.id)
            body = await index_status.select_index(db, dataset)
        return heard and body.building is None, body

    ready, body = await poll(look, lambda found: found[0], seconds=seconds or 0, stopping=stopping)
    if ready:
        headers = {"Preference-Applied": f"wait={seconds}"} if seconds is not None else {}
        return Answer(body, status_code=200, headers=headers)
    headers = {"Location": f"/v1/datasets/{dataset}/index", "Retry-After": str(RETRY_SECONDS)}
    return Answer(body, status_code=202, headers=headers)
