"""Uploads a file in constant memory, with retries that import it only once."""

import io
import uuid
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO

from cli.errors import GatewayUnavailable
from cli.gateway import Gateway, Parameters
from cli.progress import Display
from cli.responses import Job
from cli.retry import retry

CHUNK_BYTES = 1 << 18
CSV = "text/csv"
TYPES = {
    ".tsv": "text/tab-separated-values",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
}
COMPRESSED = (".gz", ".zst")


class FileBody:
    """Request body from a file's current position to its end; `size` is None for a pipe."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell() if file.seekable() else None
        self._read = False
        self.size = None if self._start is None else file.seek(0, io.SEEK_END) - self._start

    def chunks(self, display: Display) -> Iterator[bytes]:
        """Yields the content from the start."""
        if self._start is not None:
            self._file.seek(self._start)
        done = 0
        display.show_upload(done, self.size)
        # A file that grows in the meantime is read up to the size that Content-Length announced.
        while chunk := self._file.read(CHUNK_BYTES if self.size is None else min(CHUNK_BYTES, self.size - done)):
            self._read = True
            done += len(chunk)
            yield chunk
            display.show_upload(done, self.size)

    @property
    def repeatable(self) -> bool:
        """Whether the content can be read again; a pipe can be read once."""
        return self._start is not None or not self._read


def content_type(name: str) -> str:
    """Returns the content type for a file name. The gateway detects compression from the content."""
    path = PurePath(name.lower())
    return TYPES.get((PurePath(path.stem) if path.suffix in COMPRESSED else path).suffix, CSV)


def upload(gateway: Gateway, file: IO[bytes], name: str, dataset: str, parameters: Parameters, display: Display) -> Job:
    """Returns the accepted job. Retries with one idempotency key; a pipe only if nothing of it was read."""
    body = FileBody(file)
    kind = content_type(name)
    key = str(uuid.uuid4())

    def on_failure(failure: GatewayUnavailable) -> None:
        if not body.repeatable:
            raise failure
        display.show_retry()

    return retry(
        lambda: gateway.submit(dataset, body.chunks(display), body.size, kind, parameters, key=key), on_failure
    )
