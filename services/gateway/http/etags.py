"""ETags: a client revalidates a cached response and gets 304 if nothing has changed."""

import hashlib
from typing import TypeVar

from services.gateway.http.responses import ENCODER, Answer

T = TypeVar("T")

HEADER = "If-None-Match"


def respond(content: T, if_none_match: str | None) -> Answer[T | bytes]:
    """Returns the content with its `ETag`, or 304 if the client has it."""
    body = ENCODER.encode(content)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if matches(if_none_match, tag):
        return Answer(b"", status_code=304, headers=headers)
    return Answer(body, headers=headers)


def matches(if_none_match: str | None, tag: str) -> bool:
    """Returns whether `If-None-Match` lists the tag, by weak comparison (RFC 9110)."""
    if if_none_match is None:
        return False
    tags = [known.strip().removeprefix("W/") for known in if_none_match.split(",")]
    return if_none_match.strip() == "*" or tag.removeprefix("W/") in tags
