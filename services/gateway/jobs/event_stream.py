"""GET /v1/jobs/{id}/events: what happens to a job, as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.params import Parameter
from litestar.response import Stream

from services.gateway.http.polling import sleep
from services.gateway.http.problems import not_found, parse_job_id, responses
from services.gateway.jobs import event_log, queries
from services.gateway.jobs.follow import ENDS
from shared.db import Pool

LOOK_SECONDS = 0.2
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 600.0
BATCH = 500
LAST = {kind.name() for kind in ENDS.values()}


@get(
    "/v1/jobs/{job:str}/events",
    tags=["events"],
    summary="Follow a job, as server-sent events",
    description="Begins with what has happened already; after a break, `Last-Event-ID` or `?after=` goes on from there."
    " The stream ends with the job, after an `end` event; a client that is cut off simply connects again.",
    opt={"scope": "read"},
    media_type="text/event-stream",
    responses=responses(404),
)
async def follow_job(
    pool: Pool,
    stopping: asyncio.Event,
    job: str,
    after: Annotated[int, Parameter(ge=0, description="The id of the last event seen")] = 0,
    last_event_id: Annotated[int | None, Parameter(header="Last-Event-ID", ge=0)] = None,
) -> Stream:
    """Every event of the job, once and in order."""
    job_id = parse_job_id(job)
    async with pool.acquire() as db:
        if await queries.select_job(db, job_id) is None:
            raise not_found("job", job)
    return Stream(
        _events(pool, stopping, job_id, last_event_id if last_event_id is not None else after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(pool: Pool, stopping: asyncio.Event, job: UUID, after: int) -> AsyncIterator[bytes]:
    began = told = time.monotonic()
    yield b"retry: 1000\n\n"
    while time.monotonic() - began < LONGEST_SECONDS and not stopping.is_set():
        async with pool.acquire() as db:
            events = await event_log.select_events(db, job, after, BATCH)
        for event in events:
            after = event.id
            told = time.monotonic()
            data = msgspec.json.encode({"id": event.id, "type": event.type, "time": event.time, "job": event.data})
            yield f"id: {event.id}\nevent: {event.type}\ndata: {data.decode()}\n\n".encode()
            if event.type in LAST:
                yield b"event: end\ndata: {}\n\n"
                return
        if not events:
            if time.monotonic() - told > HEARTBEAT_SECONDS:
                told = time.monotonic()
                yield b": still here\n\n"
            await sleep(stopping, LOOK_SECONDS)
