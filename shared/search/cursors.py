"""Where a page ends, as a text that means nothing to others: the values of its last row, and what was asked.

It is not signed: whoever changes its values asks for a page that begins elsewhere, no more.
"""

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from shared.catalog.dataset import Field
from shared.search import values
from shared.search.columns import BadQuestion

KEPT = msgspec.json.Decoder(tuple[str, tuple[str | None, ...]])


class BadCursor(BadQuestion):
    """The cursor is none, or belongs to another question."""


def write(asked: Any, last: Sequence[Any]) -> str:
    """`asked` is all that decides which rows come in which order, as anything that msgspec can write."""
    kept = msgspec.json.encode((_digest(asked), [values.write(value) for value in last]))
    return base64.urlsafe_b64encode(kept).rstrip(b"=").decode()


def read(text: str, asked: Any, fields: Sequence[Field], parameter: str = "cursor") -> list[Any]:
    """The values of the last row, of these fields. Raises BadCursor."""
    try:
        digest, last = KEPT.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        found = [None if one is None else values.read(field.type, one) for field, one in zip(fields, last, strict=True)]
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise BadCursor(
            parameter, "bad_cursor", f"{parameter}: this is no cursor. Take the `next` of a page as it is."
        ) from error
    if digest != _digest(asked):
        raise BadCursor(
            parameter,
            "bad_cursor",
            f"{parameter}: this cursor belongs to another question. Ask as for the page it came from, or begin again.",
        )
    return found


def _digest(asked: Any) -> str:
    return blake2b(msgspec.json.encode(asked), digest_size=9).hexdigest()
