"""Text in other encodings becomes UTF-8. What can't be decoded becomes bytes that are no UTF-8, for its row to fail."""

import codecs
from collections.abc import Iterator
from typing import Literal

from services.gateway.http.problems import Problem

Encoding = Literal["auto", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "windows-1252"]

MARKS: dict[bytes, Encoding] = {
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
"""As a Content-Type says it. Many clients say utf-8 without looking, so a mark in the file outweighs that."""
UNDECODABLE = "millrace.undecodable"

codecs.register_error(UNDECODABLE, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


def encoding_of(start: bytes, told: Encoding) -> Encoding:
    """Of a file with these first four bytes: never `auto` or `utf-16`. Raises Problem 422 if they contradict it."""
    marked = next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)
    if told == "auto":
        return marked or _unmarked(start)
    if told == "utf-16" and marked != "utf-8":
        return marked or "utf-16-le"
    if marked not in (None, told):
        raise Problem(
            422,
            "encoding_mismatch",
            f"The file begins with the byte order mark of {marked}, but it was said to be {told}.",
            hint="Leave out `encoding` (and any charset), and the mark decides.",
        )
    return told


def _unmarked(start: bytes) -> Encoding:
    for encoding, zeros, letters in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        if zeros == b"\0\0" and b"\0" not in letters:
            raise Problem(
                422,
                "encoding_mismatch",
                "The file has no byte order mark and looks like UTF-16.",
                hint=f"Say encoding={encoding}.",
            )
    return "utf-8"


class Transcoder:
    """From any encoding but `auto`, a piece at a time, wherever the pieces end."""

    def __init__(self, encoding: Encoding) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(UNDECODABLE)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next bytes in UTF-8."""
        yield self._utf8(self._decoder.decode(data))

    def end(self) -> Iterator[bytes]:
        """What is left of half a character."""
        yield self._utf8(self._decoder.decode(b"", final=True))

    def _utf8(self, text: str) -> bytes:
        return text.encode(errors="surrogateescape")
