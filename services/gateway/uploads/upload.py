"""The file in a request, raw or in a form, piece by piece: inflated, and in UTF-8."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple, cast

import structlog
from litestar import Request
from litestar.types import HTTPReceiveMessage
from multipart import MultipartSegment, parse_options_header

from services.gateway.http.problems import Problem
from services.gateway.uploads.charset import CHARSETS, Encoding, Transcoder, encoding_of
from services.gateway.uploads.decompress import Coding, Inflater, coding_of
from services.gateway.uploads.media_types import ACCEPTED, FORM, Media, media_of_name, media_of_type
from services.gateway.uploads.multipart_form import open_form

STALLED_SECONDS = 60.0
START_BYTES = 4
"""So many tell how a file is compressed and encoded."""
AROUND_FILE_BYTES = 1 << 16
"""What a form may have besides its file."""
CODINGS: dict[str, Coding | None] = {"": None, "identity": None, "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
log = structlog.get_logger()


class Upload(NamedTuple):
    """What came, from its first byte. Reading on raises Problem 400, 408, 413 or 422."""

    media: Media
    pieces: AsyncIterator[bytes]


async def open_upload(request: Request[Any, Any, Any], *, encoding: Encoding, limit: int) -> Upload:
    """The file of at most `limit` bytes, before and after it is inflated. Raises Problem 400, 408, 413, 415 or 422."""
    told = request.headers.get("content-encoding", "").lower()
    if told not in CODINGS:
        raise Problem(
            415,
            "unsupported_encoding",
            f"Content-Encoding {told!r} can't be read.",
            hint="Send the file as it is, or compressed with gzip or zstd.",
            headers={"Accept-Encoding": "gzip, zstd"},
        )
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != FORM:
        media, charset, pieces = media_of_type(kind), options.get("charset"), _received(request, limit)
        if media is None:
            raise _unsupported(f"Content-Type {kind!r}" if kind else "A request without a Content-Type")
    elif CODINGS[told]:
        raise Problem(415, "unsupported_encoding", "A form can't be compressed.", hint="Compress the file in it.")
    else:
        received = _received(request, limit + AROUND_FILE_BYTES)
        part, pieces = await open_form(received, options.get("boundary", ""))
        media, charset = _media(part), part.charset
    return Upload(media, await _text(pieces, CODINGS[told], _encoding(encoding, charset), limit))


def too_large(limit: int, received: int | None = None) -> Problem:
    """Bytes, of which `received` were announced."""
    came = f"The file has {received} bytes, and" if received else "The file is larger than allowed:"
    return Problem(413, "too_large", f"{came} {limit} bytes are the most.", limit_bytes=limit)


async def _received(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """The server has no time limit for bodies, so a client that sends nothing for a minute is let go here."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit, int(length))
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                event = cast("HTTPReceiveMessage", await request.receive())
        except TimeoutError as error:
            raise Problem(408, "upload_stalled", f"Nothing came for {STALLED_SECONDS:.0f} seconds.") from error
        if event["type"] == "http.disconnect":
            log.info("upload cut off", path=request.url.path, bytes=size)
            raise Problem(400, "upload_cut_off", "The upload ended before the file did.")
        size += len(event["body"])
        if size > limit:
            raise too_large(limit)
        if event["body"]:
            yield event["body"]
        more = event.get("more_body", False)


def _media(part: MultipartSegment) -> Media:
    """What the part says of itself, unless that says nothing."""
    media = media_of_type(part.content_type or "") or media_of_name(part.filename)
    if media is None:
        raise _unsupported(f"The file {part.filename!r} of type {part.content_type!r}")
    return media


def _encoding(told: Encoding, charset: str | None) -> Encoding:
    """What the parameter says; else, what the Content-Type says."""
    if told != "auto" or not charset:
        return told
    if charset.lower() not in CHARSETS:
        raise Problem(
            415, "unsupported_charset", f"{charset!r} can't be read.", hint=f"Readable are {', '.join(CHARSETS)}."
        )
    return CHARSETS[charset.lower()]


async def _text(
    pieces: AsyncIterator[bytes], coding: Coding | None, encoding: Encoding, limit: int
) -> AsyncIterator[bytes]:
    """Inflated, also if the file itself is compressed and nothing was said; and in UTF-8."""
    start, pieces = await _begun(pieces, START_BYTES)
    if coding := coding or coding_of(start):
        pieces = _limited(_changed(pieces, Inflater(coding)), limit)
        start, pieces = await _begun(pieces, START_BYTES)
        if coding_of(start):
            raise Problem(422, "compressed_twice", "The file is compressed twice.", hint="Compress it once.")
    found = encoding_of(start[:START_BYTES], encoding)
    return pieces if found == "utf-8" else _changed(pieces, Transcoder(found))


async def _begun(pieces: AsyncIterator[bytes], size: int) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first bytes, `size` at least unless the file is shorter, and all pieces."""
    start = b""
    while len(start) < size and (piece := await anext(pieces, b"")):
        start += piece

    async def whole() -> AsyncIterator[bytes]:
        if start:
            yield start
        async for piece in pieces:
            yield piece

    return start, whole()


async def _changed(pieces: AsyncIterator[bytes], by: Inflater | Transcoder) -> AsyncIterator[bytes]:
    """Each step is taken in a thread, for other requests not to wait for it."""
    async for piece in pieces:
        async for made in _in_threads(by.feed(piece)):
            yield made
    async for made in _in_threads(by.end()):
        yield made


async def _in_threads(steps: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (made := await asyncio.to_thread(next, steps, None)) is not None:
        yield made


async def _limited(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        yield piece


def _unsupported(what: str) -> Problem:
    return Problem(
        415,
        "unsupported_media_type",
        f"{what} can't be imported.",
        hint=f"Send {', '.join(ACCEPTED)} with the file in it.",
        headers={"Accept-Post": ", ".join(ACCEPTED)},
    )
