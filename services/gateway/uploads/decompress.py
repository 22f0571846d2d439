"""Compressed uploads become what they were, a megabyte at a time, so that no bomb fills the memory or the spool."""

import sys
import zlib
from collections.abc import Iterator
from typing import Literal

from services.gateway.http.problems import Problem

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

Coding = Literal["gzip", "zstd"]

MAGICS: dict[bytes, Coding] = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
GIVEN_BYTES = 1 << 14
MADE_BYTES = 1 << 20
RATIO = 200
RATIO_FROM_BYTES = 10 << 20
"""Little text is often repetitive; so much of it is not."""
ZSTD: dict[int, int] = {DecompressionParameter.window_log_max: 23}
"""8 MiB of memory, as RFC 9659 has it: all that zstd needs without --ultra and --long."""


def coding_of(start: bytes) -> Coding | None:
    """Of bytes that begin as compressed files do."""
    return next((coding for magic, coding in MAGICS.items() if start.startswith(magic)), None)


class Inflater:
    """One compressed file, or several one after another (RFC 1952 and 8878), which count as one."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._member: _Gzip | ZstdDecompressor | None = None
        self._given = 0
        self._made = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes make, in pieces of a megabyte at most. Raises Problem 413 or 422."""
        for start in range(0, len(data), GIVEN_BYTES):
            yield from self._inflate(data[start : start + GIVEN_BYTES])

    def end(self) -> Iterator[bytes]:
        """Nothing. Raises Problem 422 if the file has no end."""
        if self._member is not None:
            raise self._corrupt("the end is missing")
        yield from ()

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        self._given += len(data)
        while data or self._member is not None:
            if self._member is None:
                if self._coding == "gzip" and not (data := data.lstrip(b"\0")):
                    return  # padding, as on tapes
                self._member = _Gzip() if self._coding == "gzip" else ZstdDecompressor(options=ZSTD)
            try:
                piece = self._member.decompress(data, MADE_BYTES)
            except (zlib.error, ZstdError) as error:
                raise self._corrupt(str(error).rpartition(": ")[2]) from error
            if piece:
                self._count(len(piece))
                yield piece
            if self._member.eof:
                data, self._member = self._member.unused_data, None
            elif self._member.needs_input:
                return
            else:
                data = b""

    def _count(self, size: int) -> None:
        self._made += size
        if self._made > RATIO_FROM_BYTES and self._made > RATIO * self._given:
            raise Problem(
                413,
                "compression_ratio",
                f"The file becomes more than {RATIO} times as large when it is inflated.",
                hint="Send it uncompressed if it really is.",
            )

    def _corrupt(self, reason: str) -> Problem:
        hint = "Compress the file again" + (", without --long and --ultra." if self._coding == "zstd" else ".")
        return Problem(422, "corrupt_compression", f"The {self._coding} data can't be inflated: {reason}.", hint=hint)


class _Gzip:
    """One member, with the interface that zstd's decompressor has."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail
