"""Health probes of the parts over the network."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

CONNECT_SECONDS = 2.0
POLL_SECONDS = 0.05
PROTOCOL = 3 << 16

Probe = Callable[[], Awaitable[bool]]


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def listens(host: str, port: int) -> bool:
    """Returns whether the port accepts connections."""
    try:
        async with _connection(host, port):
            return True
    except OSError:
        return False


async def postgres_accepts(host: str, port: int) -> bool:
    """Returns whether Postgres accepts sessions, like `pg_isready`. While it starts or stops, it sends error 57P0x."""
    parameters = b"user\0millrace\0database\0millrace\0\0"
    try:
        async with _connection(host, port) as (reader, writer):
            writer.write(struct.pack("!ii", 8 + len(parameters), PROTOCOL) + parameters)
            response = await reader.read(200)
    except OSError:
        return False
    return response[:1] == b"R" or (response[:1] == b"E" and b"\0C57P" not in response)


async def http_ready(host: str, port: int) -> bool:
    """Returns whether GET /health/ready answers 200."""
    try:
        async with _connection(host, port) as (reader, writer):
            writer.write(f"GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
    except OSError:
        return False
    return status.split(b" ")[1:2] == [b"200"]


async def until(probe: Probe, seconds: float = math.inf) -> bool:
    """Polls until the probe returns True; returns False if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not await probe():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True
