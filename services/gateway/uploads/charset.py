"""Transcoding of text to UTF-8. Bytes that can't be decoded stay invalid UTF-8, so that only their row fails."""

import codecs
from collections.abc import Iterator
from typing import Literal

from services.gateway.http.problems import Problem

Encoding = Literal["auto", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "windows-1252"]

BYTE_ORDER_MARKS: dict[bytes, Encoding] = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
CHARSETS: dict[str, Encoding] = {
    "utf-8": "auto",
    "utf8": "auto",
    "us-ascii": "auto",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "latin-1",
    "windows-1252": "windows-1252",
}
"""The charset of a Content-Type. Many clients send utf-8 by default, so a byte order mark overrides it."""
UNDECODABLE = "millrace.undecodable"

codecs.register_error(UNDECODABLE, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


def detect_encoding(start: bytes, declared: Encoding) -> Encoding:
    """Returns the encoding of a file with these first four bytes, never `auto` or `utf-16`.

    Raises Problem 422 if the bytes contradict the declared encoding.
    """
    marked = next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    if declared == "auto":
        return marked or _check_unmarked(start)
    if declared == "utf-16" and marked != "utf-8":
        return marked or "utf-16-le"
    if marked not in (None, declared):
        raise Problem(
            422,
            "encoding_mismatch",
            f"The file begins with the byte order mark of {marked}, but its declared encoding is {declared}.",
            hint="Omit `encoding` (and any charset) to use the byte order mark.",
        )
    return declared


def _check_unmarked(start: bytes) -> Encoding:
    for encoding, zeros, letters in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        if zeros == b"\0\0" and b"\0" not in letters:
            raise Problem(
                422,
                "encoding_mismatch",
                "The file has no byte order mark and looks like UTF-16.",
                hint=f"Send encoding={encoding}.",
            )
    return "utf-8"


class Transcoder:
    """Converts text of any encoding except `auto` to UTF-8. Pieces may end within a character."""

    def __init__(self, encoding: Encoding) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(UNDECODABLE)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the next bytes in UTF-8."""
        yield self._utf8(self._decoder.decode(data))

    def end(self) -> Iterator[bytes]:
        """Yields the replacement of an incomplete last character."""
        yield self._utf8(self._decoder.decode(b"", final=True))

    def _utf8(self, text: str) -> bytes:
        return text.encode(errors="surrogateescape")
