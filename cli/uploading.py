"""A file on its way to the gateway, in constant memory, once even if it has to be sent twice."""

import io
import uuid
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO

from cli.answers import Job
from cli.gateway import Gateway, Parameters
from cli.progress import Display
from cli.refusals import Away
from cli.retry import retry

PIECE_BYTES = 1 << 18
CSV = "text/csv"
TYPES = {
    ".tsv": "text/tab-separated-values",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
}
COMPRESSED = (".gz", ".zst")


class Source:
    """A file from where it stands to its end; `size` is None if that can't be known before it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell() if file.seekable() else None
        self._begun = False
        self.size = None if self._start is None else file.seek(0, io.SEEK_END) - self._start

    def pieces(self, display: Display) -> Iterator[bytes]:
        """From the start."""
        if self._start is not None:
            self._file.seek(self._start)
        done = 0
        display.sent(done, self.size)
        # Of a file that grows meanwhile, what was there at the beginning.
        while piece := self._file.read(PIECE_BYTES if self.size is None else min(PIECE_BYTES, self.size - done)):
            self._begun = True
            done += len(piece)
            yield piece
            display.sent(done, self.size)

    @property
    def repeatable(self) -> bool:
        """What came through a pipe is gone once it was read."""
        return self._start is not None or not self._begun


def content_type(name: str) -> str:
    """Of a file of that name; whether it is compressed shows in the file itself."""
    path = PurePath(name.lower())
    return TYPES.get((PurePath(path.stem) if path.suffix in COMPRESSED else path).suffix, CSV)


def upload(gateway: Gateway, file: IO[bytes], name: str, dataset: str, parameters: Parameters, display: Display) -> Job:
    """The accepted job. Sends the file again if the answer is lost on the way, with the same key."""
    source = Source(file)
    kind = content_type(name)
    key = str(uuid.uuid4())

    def on_away(away: Away) -> None:
        if not source.repeatable:
            raise away
        display.away()

    return retry(
        lambda: gateway.submit(dataset, source.pieces(display), source.size, kind, parameters, key=key), on_away
    )
