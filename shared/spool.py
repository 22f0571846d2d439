"""Where uploaded bytes wait until they are rows: a folder, named by a `file://` URL."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import BinaryIO
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
        digest = hashlib.sha256()
        size = 0
        out = unfinished.open("xb", buffering=0)  # before the `try`: another upload's file is not ours to remove
        try:
            with out:
                unfinished.chmod(0o600)
                async for piece in _gathered(pieces):
                    size += len(piece)
                    _limit(size, limit)
                    await asyncio.to_thread(_write, out, digest, piece)
                await asyncio.to_thread(os.fsync, out.fileno())
            unfinished.rename(self._folder / file)
            await asyncio.to_thread(self._sync_folder)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return Stored(file, size, digest.hexdigest())

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

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


async def _gathered(pieces: AsyncIterable[bytes]) -> AsyncIterable[bytes]:
    """Larger pieces, because each is handed to a thread."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _limit(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(limit)


def _write(out: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    view = memoryview(piece)
    while view:
        view = view[out.write(view) :]
