"""The bytes of an uploaded file, raw or in a form, piece by piece."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from litestar import Request
from multipart import MultipartSegment, ParserError, PushMultipartParser, parse_options_header

from services.gateway.problems import Problem

STALLED_SECONDS = 60.0
LARGEST_HEADER = 8192


def pieces(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """Of the file in the request. Raises Problem 415, and while it is read 400 or 408."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Problem(
            415, "unsupported_encoding", f"Content-Encoding {encoding!r} can't be read.", hint="Send it as it is."
        )
    if kind == "text/csv":
        return _raw(request)
    if kind == "multipart/form-data" and options.get("boundary"):
        return _file_of_form(request, options["boundary"])
    raise Problem(
        415,
        "unsupported_media_type",
        f"Content-Type {kind!r} can't be imported." if kind else "The request has no Content-Type.",
        hint="Send text/csv, or multipart/form-data with the file in it.",
        headers={"Accept-Post": "text/csv, multipart/form-data"},
    )


async def _raw(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """The server has no time limit for bodies, so a client that sends nothing for a minute is let go here."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Problem(408, "upload_stalled", f"Nothing came for {STALLED_SECONDS:.0f} seconds.") from error
        yield piece


async def _file_of_form(request: Request[Any, Any, Any], boundary: str) -> AsyncIterator[bytes]:
    """The first part that has a file name; the parts around it are passed over unread."""
    inside = seen = False
    with PushMultipartParser(unquote(boundary), max_header_size=LARGEST_HEADER) as parser:
        try:
            async for piece in _raw(request):
                for event in parser.parse(piece):
                    if isinstance(event, MultipartSegment):
                        inside = not seen and event.filename is not None
                        seen = seen or inside
                    elif event is None:
                        inside = False
                    elif inside:
                        yield bytes(event)
            for _ in parser.parse(b""):
                pass
        except ParserError as error:
            raise Problem(400, "bad_form", f"The form can't be read: {error}.") from error
    if not seen:
        raise Problem(422, "no_file", "The form has no file in it.", hint='With curl: -F "file=@contacts.csv"')
