"""Spool: a folder of uploaded files that wait to be loaded, named by a `file://` URL."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterable, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import urlsplit

import msgspec

PIECE_BYTES = 1 << 20


class TooLarge(Exception):
    """The upload exceeds the limit in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class StoredFile(msgspec.Struct, frozen=True):
    """A file in the spool: its size in bytes and the SHA-256 of its content, in hex."""

    file: str
    bytes_total: int
    sha256: str


class Spool:
    """Stores files under generated names. A file is visible once it is complete and synced to disk."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "file" or not parts.path.startswith("/"):
            raise ValueError(
                f"SPOOL_URL={url!r} must be the file:// URL of a folder, like file:///var/lib/millrace/spool"
            )
        self._folder = Path(parts.path)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def store(self, file: str, pieces: AsyncIterable[bytes], *, limit: int) -> StoredFile:
        """Writes a file in constant memory. Leaves no file behind on errors or cancellation. Raises TooLarge."""
        unfinished = self._folder / f"{file}.part"
        out = unfinished.open("xb", buffering=0)  # before the `try`: do not delete a file of another upload
        try:
            unfinished.chmod(0o600)
            with out:
                async with _Writer(out) as writer:
                    async for piece in pieces:
                        _check_size(writer.size + len(piece), limit)
                        await writer.write(piece)
            await asyncio.to_thread(self._publish, unfinished, file)
        except BaseException:
            unfinished.unlink(missing_ok=True)  # first, so that a thread still running cannot rename it
            self.delete(file)
            raise
        return StoredFile(file, writer.size, writer.digest.hexdigest())

    def open(self, file: str) -> BinaryIO:
        """Opens a file for reading. Raises FileNotFoundError."""
        return (self._folder / file).open("rb")

    def read(self, file: str, start: int, end: int) -> bytes:
        """Returns bytes `start` to `end`. Raises FileNotFoundError, or EOFError if the file is shorter."""
        with self.open(file) as stored:
            stored.seek(start)
            data = stored.read(end - start)
        if len(data) != end - start:
            raise EOFError(f"{file} ends at byte {start + len(data)}, before byte {end}")
        return data

    def delete(self, file: str) -> None:
        """Deletes a file if it exists."""
        (self._folder / file).unlink(missing_ok=True)

    def files(self) -> Iterator[tuple[str, float]]:
        """Yields the name and modification time (epoch seconds) of every file, incomplete ones included."""
        for entry in os.scandir(self._folder):
            yield entry.name, entry.stat().st_mtime

    def _publish(self, unfinished: Path, file: str) -> None:
        unfinished.rename(self._folder / file)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Writer:
    """Buffers pieces and writes them in a thread while the next ones arrive. Syncs to disk at the end."""

    def __init__(self, out: FileIO) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._out = out
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0
        self._written = 0
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self._flush(last=True)
                await self._wait_for_write()
        finally:
            if self._writing is not None:
                await asyncio.wait([self._writing])  # the thread cannot be stopped, so the file stays open for it

    async def write(self, piece: bytes) -> None:
        """Buffers the piece, and flushes the buffer when it has PIECE_BYTES."""
        self.size += len(piece)
        self._buffer.append(piece)
        self._buffer_bytes += len(piece)
        if self._buffer_bytes >= PIECE_BYTES:
            await self._flush()

    async def _flush(self, *, last: bool = False) -> None:
        await self._wait_for_write()
        pieces, self._buffer, self._buffer_bytes = self._buffer, [], 0
        self._writing = asyncio.create_task(asyncio.to_thread(self._write_pieces, pieces, last=last))

    async def _wait_for_write(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def _write_pieces(self, pieces: list[bytes], *, last: bool) -> None:
        began = self._written
        for piece in pieces:
            self.digest.update(piece)
            view = memoryview(piece)
            while view:
                view = view[self._out.write(view) :]
            self._written += len(piece)
        if last:
            os.fsync(self._out.fileno())
        else:
            # Makes the kernel write to disk now, so that the final fsync is short.
            os.posix_fadvise(self._out.fileno(), began, self._written - began, os.POSIX_FADV_DONTNEED)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(limit)
