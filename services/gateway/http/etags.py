"""Answers that a client may keep, and has to ask about each time: 304 if nothing has changed."""

import hashlib
from typing import TypeVar

from services.gateway.http.responses import ENCODER, Answer

T = TypeVar("T")

HEADER = "If-None-Match"


def answer(content: T, known: str | None) -> Answer[T | bytes]:
    """`known` are the `ETag`s of `If-None-Match`."""
    body = ENCODER.encode(content)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if is_known(known, tag):
        return Answer(b"", status_code=304, headers=headers)
    return Answer(body, headers=headers)


def is_known(known: str | None, tag: str) -> bool:
    """Whether the client has what the tag stands for; a weak tag and a strong one of the same text are equal here."""
    if known is None:
        return False
    tags = [one.strip().removeprefix("W/") for one in known.split(",")]
    return known.strip() == "*" or tag.removeprefix("W/") in tags
