"""JSON responses with decimals as numbers, and the response format that a client accepts."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Response
from litestar.enums import MediaType as KnownMediaType

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


def wants_csv(accept: str | None, form: str | None) -> bool:
    """`format=` decides, else the first of JSON and CSV that the client accepts."""
    return (form or preferred(accept, {"text/csv": "csv"})) == "csv"


def preferred(accept: str | None, others: Mapping[str, str]) -> str:
    """The first of JSON and `others`, types with their names, that the client accepts; JSON if it doesn't care."""
    for part in (accept or "").split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in (KnownMediaType.JSON, "*/*", "application/*"):
            break
        if kind in others:
            return others[kind]
    return "json"


def escape_formula(text: str) -> str:
    """Returns the text so that a spreadsheet shows it and does not run it as a formula."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text
