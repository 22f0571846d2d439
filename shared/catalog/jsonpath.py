"""Subset of JSONPath: `$`, `a.b`, `['a.b']`, `a[0]`, `a[*].b`."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

STEP = re.compile(r"\.?(?P<name>[^.\[\]'\s]+)|\[(?P<index>[0-9]+)\]|\[(?P<each>\*)\]|\['(?P<quoted>[^']+)'\]")


class BadPath(ValueError):
    """The text is not a valid path."""


@lru_cache(maxsize=1024)
def parse(path: str) -> tuple[str | int | None, ...]:
    """Returns the keys and indexes of a path; None stands for `[*]`. Raises BadPath."""
    steps: list[str | int | None] = []
    offset = 1 if path.startswith("$") else 0
    while offset < len(path):
        match = STEP.match(path, offset)
        if match is None or (match["name"] and (match[0][0] == ".") != (offset > 0)):
            raise BadPath(f"{path!r} is not a path; write it like data.items, items[0].id or items[*].id")
        steps.append(int(match["index"]) if match["index"] else match["name"] or match["quoted"])
        offset = match.end()
    if not path:
        raise BadPath("a path can't be empty; $ is the whole document")
    return tuple(steps)


def find(document: Any, path: str) -> list[Any]:
    """Returns all matches in document order."""
    matches = [document]
    for step in parse(path):
        matches = [child for value in matches for child in _children(value, step)]
    return matches


def first(document: Any, path: str) -> Any:
    """Returns the first match, or None."""
    return next(iter(find(document, path)), None)


def _children(value: Any, step: str | int | None) -> Iterator[Any]:
    match step:
        case None if isinstance(value, list):
            yield from value
        case None if isinstance(value, dict):
            yield from value.values()
        case str() if isinstance(value, dict) and step in value:
            yield value[step]
        case int() if isinstance(value, list) and step < len(value):
            yield value[step]
