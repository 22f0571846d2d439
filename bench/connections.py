"""Minimal HTTP client for latency tests: httpx2 needs about a millisecond for a response of 200 KB."""

import asyncio
import re
from urllib.parse import urlsplit

from bench.stack import Stack

LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class Connections:
    """Connection pool to the gateway, without a size limit."""

    def __init__(self, stack: Stack) -> None:
        self._address = urlsplit(stack.url)
        self._headers = f"Host: {self._address.netloc}\r\nAuthorization: Bearer {stack.key}\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str) -> bytes:
        """Returns the body of a 200 response. A connection with an unfinished response is not reused."""
        return await self._request(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())

    async def post(self, path: str, body: bytes, *, prefer: str) -> bytes:
        """Returns the body of a 200 response to a JSON body."""
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nPrefer: {prefer}\r\n"
        return await self._request(f"POST {path} HTTP/1.1\r\n{self._headers}{more}\r\n".encode() + body)

    async def _request(self, request: bytes) -> bytes:
        reader, writer = await self._take()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length, head
        body = await reader.readexactly(int(length[1]))
        assert head.split(b" ", 2)[1] == b"200", head + body
        self._idle.append((reader, writer))
        return body

    async def _take(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns an idle connection that the gateway has not closed, or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
        return await asyncio.open_connection(self._address.hostname, self._address.port, limit=1 << 20)

    async def aclose(self) -> None:
        """Closes the idle connections."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()
