"""Where uploaded bytes wait until they are rows: a folder, named by a `file://` URL."""

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
    """More bytes came than are allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class Stored(msgspec.Struct, frozen=True):
    """A file in the spool: its size in bytes and the SHA-256 of its content, in hex."""

    file: str
    bytes_total: int
    sha256: str


class Spool:
    """Files are written under a name of our own, and seen only when they are whole and on disk."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "file" or not parts.path.startswith("/"):
            raise ValueError(f"SPOOL_URL={url!r} must be a folder, like file:///var/lib/millrace/spool")
        self._folder = Path(parts.path)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def store(self, file: str, pieces: AsyncIterable[bytes], *, limit: int) -> Stored:
        """Writes in constant memory. Whatever goes wrong, cancellation too, leaves no file. Raises TooLarge."""
        unfinished = self._folder / f"{file}.part"
        out = unfinished.open("xb", buffering=0)  # before the `try`: another upload's file is not ours to remove
        try:
            unfinished.chmod(0o600)
            with out:
                async with _Writer(out) as writer:
                    async for piece in pieces:
                        _limit(writer.size + len(piece), limit)
                        await writer.take(piece)
            await asyncio.to_thread(self._show, unfinished, file)
        except BaseException:
            unfinished.unlink(missing_ok=True)  # first: a thread that was left behind can't rename it any more
            self.delete(file)
            raise
        return Stored(file, writer.size, writer.digest.hexdigest())

    def open(self, file: str) -> BinaryIO:
        """Raises FileNotFoundError."""
        return (self._folder / file).open("rb")

    def read(self, file: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end`. Raises FileNotFoundError, or EOFError if the file is shorter."""
        with self.open(file) as stored:
            stored.seek(start)
            data = stored.read(end - start)
        if len(data) != end - start:
            raise EOFError(f"{file} ends at byte {start + len(data)}, wanted {end}")
        return data

    def delete(self, file: str) -> None:
        """Nothing happens if it is gone already."""
        (self._folder / file).unlink(missing_ok=True)

    def files(self) -> Iterator[tuple[str, float]]:
        """Every file, unfinished ones too, with the seconds since the epoch of its last change."""
        for entry in os.scandir(self._folder):
            yield entry.name, entry.stat().st_mtime

    def _show(self, unfinished: Path, file: str) -> None:
        unfinished.rename(self._folder / file)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Writer:
    """Writes in a thread what was taken before, while the next pieces come. At its end everything is on disk."""

    def __init__(self, out: FileIO) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._out = out
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._written = 0
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self._hand_over(last=True)
                await self._settled()
        finally:
            if self._writing is not None:
                await asyncio.wait([self._writing])  # a thread can't be stopped, and must not find the file closed

    async def take(self, piece: bytes) -> None:
        """Small pieces wait for others, because a thread costs more than they do."""
        self.size += len(piece)
        self._gathered.append(piece)
        self._gathered_bytes += len(piece)
        if self._gathered_bytes >= PIECE_BYTES:
            await self._hand_over()

    async def _hand_over(self, *, last: bool = False) -> None:
        await self._settled()
        pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._writing = asyncio.create_task(asyncio.to_thread(self._write, pieces, last=last))

    async def _settled(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def _write(self, pieces: list[bytes], *, last: bool) -> None:
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
            # The kernel begins now to write to disk what it would otherwise keep until it is asked to be sure.
            os.posix_fadvise(self._out.fileno(), began, self._written - began, os.POSIX_FADV_DONTNEED)


def _limit(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(limit)
