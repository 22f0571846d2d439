"""Opaque cursors: the sort values of the last row of a page, and a digest of the query.

A cursor is not signed: changed values select another page of the same query, nothing else.
"""

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from shared.catalog.dataset import Field
from shared.search import values
from shared.search.columns import InvalidQuery

DECODER = msgspec.json.Decoder(tuple[str, tuple[str | None, ...]])


class InvalidCursor(InvalidQuery):
    """The text is not a cursor, or the cursor of another query."""


def encode(query: Any, last: Sequence[Any]) -> str:
    """Returns the cursor behind a row with the values `last`.

    `query` is everything that determines the rows and their order, as anything that msgspec encodes.
    """
    content = msgspec.json.encode((_digest(query), [values.to_text(value) for value in last]))
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(text: str, query: Any, fields: Sequence[Field], parameter: str = "cursor") -> list[Any]:
    """Returns the values of the last row, which belong to `fields`. Raises InvalidCursor."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        digest, last = DECODER.decode(content)
        parsed = [
            None if value is None else values.parse(field.type, value)
            for field, value in zip(fields, last, strict=True)
        ]
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        detail = f"{parameter}: not a cursor. Use the `next` of a page unchanged."
        raise InvalidCursor(parameter, "bad_cursor", detail) from error
    if digest != _digest(query):
        detail = f"{parameter}: the cursor of another query. Repeat the query of its page, or omit the cursor."
        raise InvalidCursor(parameter, "bad_cursor", detail)
    return parsed


def _digest(query: Any) -> str:
    return blake2b(msgspec.json.encode(query), digest_size=9).hexdigest()
