"""The part of JSONPath that declarations need: `$`, `a.b`, `['a.b']`, `a[0]`, `a[*].b`."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

STEP = re.compile(r"\.?(?P<name>[^.\[\]'\s]+)|\[(?P<index>[0-9]+)\]|\[(?P<each>\*)\]|\['(?P<quoted>[^']+)'\]")


class BadPath(ValueError):
    """The text is no path."""


@lru_cache(maxsize=1024)
def steps(path: str) -> tuple[str | int | None, ...]:
    """Keys and indexes from the document inwards; None stands for each. Raises BadPath."""
    found: list[str | int | None] = []
    place = 1 if path.startswith("$") else 0
    while place < len(path):
        match = STEP.match(path, place)
        if match is None or (match["name"] and (match[0][0] == ".") != (place > 0)):
            raise BadPath(f"{path!r} is no path; write it like data.items, items[0].id or items[*].id")
        found.append(int(match["index"]) if match["index"] else match["name"] or match["quoted"])
        place = match.end()
    if not path:
        raise BadPath("a path can't be empty; $ is the whole document")
    return tuple(found)


def find(document: Any, path: str) -> list[Any]:
    """Everything that the path leads to, in the order of the document; nothing where it leads nowhere."""
    found = [document]
    for step in steps(path):
        found = [inner for value in found for inner in _within(value, step)]
    return found


def first(document: Any, path: str) -> Any:
    """What the path leads to, or None."""
    found = find(document, path)
    return found[0] if found else None


def _within(value: Any, step: str | int | None) -> Iterator[Any]:
    match step:
        case None if isinstance(value, list):
            yield from value
        case None if isinstance(value, dict):
            yield from value.values()
        case str() if isinstance(value, dict) and step in value:
            yield value[step]
        case int() if isinstance(value, list) and step < len(value):
            yield value[step]
