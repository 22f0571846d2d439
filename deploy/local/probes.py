"""How to see from outside that a part does its work."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PATIENCE = 2.0
PROTOCOL = 3 << 16


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def listens(host: str, port: int) -> bool:
    try:
        async with _connection(host, port):
            return True
    except OSError:
        return False


async def postgres_accepts(host: str, port: int) -> bool:
    """Asked as `pg_isready` asks: while it starts or stops, the server answers with an error of class 57."""
    parameters = b"user\0millrace\0database\0millrace\0\0"
    try:
        async with _connection(host, port) as (reader, writer):
            writer.write(struct.pack("!ii", 8 + len(parameters), PROTOCOL) + parameters)
            answer = await reader.read(200)
    except OSError:
        return False
    return answer[:1] == b"R" or (answer[:1] == b"E" and b"\0C57P" not in answer)


async def http_ready(host: str, port: int) -> bool:
    try:
        async with _connection(host, port) as (reader, writer):
            writer.write(f"GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
    except OSError:
        return False
    return status.split(b" ")[1:2] == [b"200"]


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    while not await probe():  # noqa: ASYNC110 (another process has no event to wait for)
        await asyncio.sleep(0.1)
