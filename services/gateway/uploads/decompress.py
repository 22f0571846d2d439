"""Streaming decompression of gzip and zstd, with limits on memory and on the compression ratio (zip bombs)."""

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
INPUT_BYTES = 1 << 14
OUTPUT_BYTES = 1 << 20
MAX_RATIO = 200
RATIO_FROM_BYTES = 10 << 20
"""Output from which on the ratio is limited: small files may be very repetitive."""
ZSTD: dict[int, int] = {DecompressionParameter.window_log_max: 23}
"""A window of 8 MiB (RFC 9659), which is enough for zstd without --ultra and --long."""


def detect_coding(start: bytes) -> Coding | None:
    """Returns the coding whose magic number the file begins with."""
    return next((coding for magic, coding in MAGICS.items() if start.startswith(magic)), None)


class Decompressor:
    """Decompresses one file. Concatenated members or frames (RFC 1952 and 8878) count as one file."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._member: _Gzip | ZstdDecompressor | None = None
        self._input_bytes = 0
        self._output_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the decompressed data, in pieces of OUTPUT_BYTES at most. Raises Problem 413 or 422."""
        for start in range(0, len(data), INPUT_BYTES):
            yield from self._decompress(data[start : start + INPUT_BYTES])

    def end(self) -> Iterator[bytes]:
        """Yields nothing. Raises Problem 422 if the file is truncated."""
        if self._member is not None:
            raise self._corrupt("the end is missing")
        yield from ()

    def _decompress(self, data: bytes) -> Iterator[bytes]:
        self._input_bytes += len(data)
        while data or self._member is not None:
            if self._member is None:
                if self._coding == "gzip" and not (data := data.lstrip(b"\0")):
                    return  # zero padding after the last member
                self._member = _Gzip() if self._coding == "gzip" else ZstdDecompressor(options=ZSTD)
            try:
                piece = self._member.decompress(data, OUTPUT_BYTES)
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
        self._output_bytes += size
        if self._output_bytes > RATIO_FROM_BYTES and self._output_bytes > MAX_RATIO * self._input_bytes:
            raise Problem(
                413,
                "compression_ratio",
                f"The file is more than {MAX_RATIO} times as large when decompressed.",
                hint="If that is intended, send the file uncompressed.",
            )

    def _corrupt(self, reason: str) -> Problem:
        hint = "Compress the file again" + (", without --long and --ultra." if self._coding == "zstd" else ".")
        return Problem(
            422, "corrupt_compression", f"The {self._coding} data can't be decompressed: {reason}.", hint=hint
        )


class _Gzip:
    """One gzip member, with the interface of ZstdDecompressor."""

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
