"""Streams the single file of a multipart/form-data body."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from multipart import MultipartSegment, ParserError, PushMultipartParser

from services.gateway.http.problems import Problem

LARGEST_HEADER = 8192


async def open_form(pieces: AsyncIterator[bytes], boundary: str) -> tuple[MultipartSegment, AsyncIterator[bytes]]:
    """Returns the part that has a file name, and its bytes; skips other parts. Raises Problem 400 or 422."""
    events = _events(pieces, boundary)
    async for event in events:
        if _is_file(event):
            return event, _content(events)
    raise Problem(422, "no_file", "The form contains no file.", hint='With curl: -F "file=@contacts.csv"')


async def _events(pieces: AsyncIterator[bytes], boundary: str) -> AsyncIterator[Any]:
    """Yields for each part of the form: its segment, its bytes, and None at its end."""
    try:
        with PushMultipartParser(unquote(boundary), max_header_size=LARGEST_HEADER) as parser:
            async for piece in pieces:
                for event in parser.parse(piece):
                    yield event
    except ParserError as error:
        raise Problem(400, "bad_form", f"The form can't be read: {error}.") from error


async def _content(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Yields the bytes of the current part, and reads the rest of the form to detect a truncated one."""
    in_part = True
    async for event in events:
        if event is None:
            in_part = False
        elif in_part:
            yield bytes(event)
        elif _is_file(event):
            raise Problem(
                422, "several_files", "The form contains more than one file.", hint="Send one file per request."
            )


def _is_file(event: Any) -> bool:
    return isinstance(event, MultipartSegment) and bool(event.filename)
