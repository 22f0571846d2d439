"""Responses in JSON with decimals as numbers, and content negotiation."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Response
from litestar.datastructures.headers import Accept

T = TypeVar("T")

ENCODER = msgspec.json.Encoder(decimal_format="number")
NUMBER = re.compile(r"[+-]?[0-9.]+")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


class Answer(Response[T]):
    """JSON. Postgres' exact numbers are written as they are, not as strings."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        """Called by Litestar."""
        del media_type, enc_hook
        return content if isinstance(content, bytes) else ENCODER.encode(content)


def negotiate(accept: str | None, types: Mapping[str, str]) -> str:
    """Returns the name of the media type that an Accept header prefers; of the first if it accepts none of them."""
    first = next(iter(types))
    try:
        return types[Accept(accept or "*/*").best_match([*types], first)]
    except OverflowError:  # Litestar's, of a q that is no finite number
        return types[first]


def defused(text: str) -> str:
    """Text that a spreadsheet shows and doesn't run."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text
