"""HTTP as cheap as psql is: httpx2 spends about a millisecond on an answer of 200 KB, too much beside ten."""

import asyncio
import re
from urllib.parse import urlsplit

from bench.stack import Stack

LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class Connections:
    """To the gateway; kept open, and as many as there are questions at a time."""

    def __init__(self, stack: Stack) -> None:
        self._place = urlsplit(stack.url)
        self._headers = f"Host: {self._place.netloc}\r\nAuthorization: Bearer {stack.key}\r\n\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str) -> bytes:
        """The body of a 200. A connection whose answer is not awaited to its end is not used again."""
        # The gateway closes connections that nobody has used for a while.
        self._idle = [(reader, writer) for reader, writer in self._idle if not reader.at_eof()]
        reader, writer = self._idle.pop() if self._idle else await self._open()
        writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length, head
        body = await reader.readexactly(int(length[1]))
        assert head.split(b" ", 2)[1] == b"200", head + body
        self._idle.append((reader, writer))
        return body

    async def aclose(self) -> None:
        """All that are idle."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._place.hostname, self._place.port, limit=1 << 20)
