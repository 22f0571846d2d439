"""The one file in a form (multipart/form-data), while the form comes in."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from multipart import MultipartSegment, ParserError, PushMultipartParser

from services.gateway.http.problems import Problem

LARGEST_HEADER = 8192


async def open_form(pieces: AsyncIterator[bytes], boundary: str) -> tuple[MultipartSegment, AsyncIterator[bytes]]:
    """The part that has a file name, and its bytes; other parts are passed over. Raises Problem 400 or 422."""
    events = _events(pieces, boundary)
    async for event in events:
        if _is_file(event):
            return event, _content(events)
    raise Problem(422, "no_file", "The form has no file in it.", hint='With curl: -F "file=@contacts.csv"')


async def _events(pieces: AsyncIterator[bytes], boundary: str) -> AsyncIterator[Any]:
    """As the parser tells them: a segment, its bytes, None at its end."""
    try:
        with PushMultipartParser(unquote(boundary), max_header_size=LARGEST_HEADER) as parser:
            async for piece in pieces:
                for event in parser.parse(piece):
                    yield event
    except ParserError as error:
        raise Problem(400, "bad_form", f"The form can't be read: {error}.") from error


async def _content(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Of the part that has begun. The rest of the form is read too: only then it was not cut off."""
    inside = True
    async for event in events:
        if event is None:
            inside = False
        elif inside:
            yield bytes(event)
        elif _is_file(event):
            raise Problem(422, "several_files", "The form has more than one file in it.", hint="Send one at a time.")


def _is_file(event: Any) -> bool:
    return isinstance(event, MultipartSegment) and bool(event.filename)
