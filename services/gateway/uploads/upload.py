"""Uploads: streams the file of a request, raw or in a form, decompressed and in UTF-8."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple, cast

import structlog
from litestar import Request
from litestar.types import HTTPReceiveMessage
from multipart import MultipartSegment, parse_options_header

from services.gateway.http.problems import Problem
from services.gateway.uploads.charset import CHARSETS, Encoding, Transcoder, detect_encoding
from services.gateway.uploads.decompress import Coding, Decompressor, detect_coding
from services.gateway.uploads.media_types import ACCEPTED, FORM, Media, media_of_name, media_of_type
from services.gateway.uploads.multipart_form import open_form

STALLED_SECONDS = 60.0
START_BYTES = 4
"""Enough to detect the compression and the encoding."""
FORM_OVERHEAD_BYTES = 1 << 16
"""Allowance for the parts of a form around its file."""
CODINGS: dict[str, Coding | None] = {"": None, "identity": None, "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
log = structlog.get_logger()


class Upload(NamedTuple):
    """A file that is being received. Reading its pieces raises Problem 400, 408, 413 or 422."""

    media: Media
    pieces: AsyncIterator[bytes]


async def open_upload(request: Request[Any, Any, Any], *, encoding: Encoding, limit: int) -> Upload:
    """Opens the file of a request; `limit` bounds its bytes both compressed and decompressed.

    Raises Problem 400, 408, 413, 415 or 422.
    """
    content_encoding = request.headers.get("content-encoding", "").lower()
    if content_encoding not in CODINGS:
        raise Problem(
            415,
            "unsupported_encoding",
            f"Content-Encoding {content_encoding!r} is not supported.",
            hint="Send the file uncompressed, or compressed with gzip or zstd.",
            headers={"Accept-Encoding": "gzip, zstd"},
        )
    coding = CODINGS[content_encoding]
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type != FORM:
        media, charset, pieces = media_of_type(content_type), options.get("charset"), _receive(request, limit)
        if media is None:
            subject = f"Content-Type {content_type!r}" if content_type else "A request without a Content-Type"
            raise _unsupported_media_type(subject)
    elif coding:
        raise Problem(
            415, "unsupported_encoding", "A form can't be compressed.", hint="Compress the file within the form."
        )
    else:
        body = _receive(request, limit + FORM_OVERHEAD_BYTES)
        part, pieces = await open_form(body, options.get("boundary", ""))
        media, charset = _media_of_part(part), part.charset
    return Upload(media, await _to_utf8(pieces, coding, _declared_encoding(encoding, charset), limit))


def too_large(limit: int, announced: int | None = None) -> Problem:
    """Returns a 413 for a file of more than `limit` bytes; `announced` is its Content-Length."""
    subject = f"The file has {announced} bytes." if announced else "The file is too large."
    return Problem(413, "too_large", f"{subject} The limit is {limit} bytes.", limit_bytes=limit)


async def _receive(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """Yields the body. The server has no timeout for bodies, so a client that stalls is disconnected here."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit, int(length))
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                event = cast("HTTPReceiveMessage", await request.receive())
        except TimeoutError as error:
            detail = f"The client sent nothing for {STALLED_SECONDS:.0f} seconds."
            raise Problem(408, "upload_stalled", detail) from error
        if event["type"] == "http.disconnect":
            log.info("upload cut off", path=request.url.path, bytes=size)
            raise Problem(400, "upload_cut_off", "The client disconnected before the end of the file.")
        size += len(event["body"])
        if size > limit:
            raise too_large(limit)
        if event["body"]:
            yield event["body"]
        more = event.get("more_body", False)


def _media_of_part(part: MultipartSegment) -> Media:
    """Returns the media of the part's content type, or else of its file name. Raises Problem 415."""
    media = media_of_type(part.content_type or "") or media_of_name(part.filename)
    if media is None:
        raise _unsupported_media_type(f"The file {part.filename!r} of type {part.content_type!r}")
    return media


def _declared_encoding(encoding: Encoding, charset: str | None) -> Encoding:
    """Returns the encoding of the parameter, or else of the charset. Raises Problem 415."""
    if encoding != "auto" or not charset:
        return encoding
    if charset.lower() not in CHARSETS:
        hint = f"Supported charsets are {', '.join(CHARSETS)}."
        raise Problem(415, "unsupported_charset", f"The charset {charset!r} is not supported.", hint=hint)
    return CHARSETS[charset.lower()]


async def _to_utf8(
    pieces: AsyncIterator[bytes], coding: Coding | None, encoding: Encoding, limit: int
) -> AsyncIterator[bytes]:
    """Decompresses, also a compressed file that is not declared as such, and transcodes."""
    start, pieces = await _peek(pieces, START_BYTES)
    if coding := coding or detect_coding(start):
        pieces = _limit_size(_convert(pieces, Decompressor(coding)), limit)
        start, pieces = await _peek(pieces, START_BYTES)
        if detect_coding(start):
            raise Problem(422, "compressed_twice", "The file is compressed twice.", hint="Compress it once.")
    detected = detect_encoding(start[:START_BYTES], encoding)
    return pieces if detected == "utf-8" else _convert(pieces, Transcoder(detected))


async def _peek(pieces: AsyncIterator[bytes], size: int) -> tuple[bytes, AsyncIterator[bytes]]:
    """Returns at least the first `size` bytes, unless the file is shorter, and all pieces including these."""
    start = b""
    while len(start) < size and (piece := await anext(pieces, b"")):
        start += piece

    async def all_pieces() -> AsyncIterator[bytes]:
        if start:
            yield start
        async for piece in pieces:
            yield piece

    return start, all_pieces()


async def _convert(pieces: AsyncIterator[bytes], converter: Decompressor | Transcoder) -> AsyncIterator[bytes]:
    """Runs each step of the converter in a thread, so that other requests don't wait."""
    async for piece in pieces:
        async for converted in _in_threads(converter.feed(piece)):
            yield converted
    async for converted in _in_threads(converter.end()):
        yield converted


async def _in_threads(steps: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (converted := await asyncio.to_thread(next, steps, None)) is not None:
        yield converted


async def _limit_size(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        yield piece


def _unsupported_media_type(subject: str) -> Problem:
    return Problem(
        415,
        "unsupported_media_type",
        f"{subject} can't be imported.",
        hint=f"Send the file as one of {', '.join(ACCEPTED)}.",
        headers={"Accept-Post": ", ".join(ACCEPTED)},
    )
