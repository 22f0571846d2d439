"""GET /v1/jobs/{id}/events: a job's events as server-sent events."""

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
from services.gateway.jobs.announcements import ENDS
from shared.db import Pool

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 15.0
MAX_SECONDS = 600.0
BATCH_EVENTS = 500
LAST_TYPES = {kind.name() for kind in ENDS.values()}


@get(
    "/v1/jobs/{job:str}/events",
    tags=["events"],
    summary="Follow a job, as server-sent events",
    description="Starts with the job's past events; to resume after a break, send `Last-Event-ID` or `?after=`."
    " The stream ends with the job, after an `end` event. A client that loses the connection connects again.",
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
    """Streams every event of the job, once and in order."""
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
    started = last_sent = time.monotonic()
    yield b"retry: 1000\n\n"
    while time.monotonic() - started < MAX_SECONDS and not stopping.is_set():
        async with pool.acquire() as db:
            events = await event_log.select_events(db, job, after, BATCH_EVENTS)
        for event in events:
            after = event.id
            last_sent = time.monotonic()
            data = msgspec.json.encode({"id": event.id, "type": event.type, "time": event.time, "job": event.data})
            yield f"id: {event.id}\nevent: {event.type}\ndata: {data.decode()}\n\n".encode()
            if event.type in LAST_TYPES and event is events[-1]:  # a retry continues after the end
                yield b"event: end\ndata: {}\n\n"
                return
        if not events:
            if time.monotonic() - last_sent > HEARTBEAT_SECONDS:
                last_sent = time.monotonic()
                yield b": still here\n\n"
            await sleep(stopping, POLL_SECONDS)
