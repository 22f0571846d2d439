"""Many open connections: the gateway serves the others meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from tests.stack import Stack

IDLE, STREAMS = 1200, 200
"""Connections that say nothing, and clients that follow a job."""
SECONDS = 20.0


@contextlib.asynccontextmanager
async def connections(url: str, count: int, request: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections that have sent `request`."""
    address = urlsplit(url)
    opened = []
    try:
        for _ in range(count):
            opened.append(await asyncio.open_connection(address.hostname, address.port))
            opened[-1][1].write(request)
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def test_thousand_silent_connections_and_two_hundred_streams_do_not_keep_a_client_waiting(stack: Stack) -> None:
    rows = "/v1/datasets/departments/rows"
    batch = {"rows": [{"id": 970_001, "department": "Connections"}]}
    job = (await stack.client.post(rows, json=batch)).json()["id"]
    follow = f"GET /v1/jobs/{job}/events?after=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n\r\n"
    async with connections(stack.url, IDLE), connections(stack.url, STREAMS, follow.encode()) as streams:
        async with asyncio.timeout(SECONDS):
            for stream in streams:
                assert (await stream.readline()).startswith(b"HTTP/1.1 200"), "a stream"
            async with httpx2.AsyncClient(base_url=stack.url) as client:  # on connections of its own
                assert (await client.get("/health/live")).status_code == 200
                headers = {"Authorization": f"Bearer {stack.key}", "Idempotency-Key": str(uuid4()), "Prefer": "wait=10"}
                assert (await client.post(rows, json=batch, headers=headers)).status_code == 200
