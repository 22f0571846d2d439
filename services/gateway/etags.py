"""Answers that a client may keep, and has to ask about each time: 304 if nothing has changed."""

import hashlib
from typing import TypeVar

from services.gateway.answers import ENCODER, Answer

T = TypeVar("T")

HEADER = "If-None-Match"


def answer(content: T, known: str | None) -> Answer[T | bytes]:
    """`known` are the `ETag`s of `If-None-Match`."""
    body = ENCODER.encode(content)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if known is not None and (known.strip() == "*" or tag in _tags(known)):
        return Answer(b"", status_code=304, headers=headers)
    return Answer(body, headers=headers)


def _tags(known: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in known.split(",")]
