"""JSON responses with decimals as numbers, and content negotiation."""

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
    """A JSON response. Decimals are written as numbers with all their digits."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        """Returns the encoded content; bytes are JSON already."""
        del media_type, enc_hook
        return content if isinstance(content, bytes) else ENCODER.encode(content)


def negotiate(accept: str | None, types: Mapping[str, str]) -> str:
    """Returns the name of the media type that an Accept header prefers, or the first name if it accepts none of them.

    A q that is not a finite number makes Litestar's parser fail; then the header counts as absent.
    """
    default = next(iter(types))
    try:
        return types[Accept(accept or "*/*").best_match([*types], default)]
    except OverflowError:
        return types[default]


def escape_formula(text: str) -> str:
    """Returns the text so that a spreadsheet shows it and does not run it as a formula."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text
