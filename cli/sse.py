"""Server-sent events, as far as the gateway sends them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """`id` is what to go on from after a break, or empty."""

    id: str
    type: str
    data: str


def read(pieces: Iterable[str]) -> Iterator[Event]:
    """Each event as soon as it is whole."""
    fields: dict[str, str] = {}
    for line in _lines(pieces):
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield Event(fields.get("id", ""), fields.get("event", ""), fields["data"])
            fields = {}


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    # Not str.splitlines, which also splits where the data has a U+2028.
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from lines
