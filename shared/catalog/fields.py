"""What is wrong with a field of a declaration."""

import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from shared.catalog import kinds, literals
from shared.catalog.dataset import Field

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
REFERENCE = re.compile(r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}\Z")
TAKEN = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
"""Postgres' own columns of every table."""
BOUNDED = ("integer", "number", "decimal", "date", "datetime", "time")
LONGEST_PATTERN = 1000
SYNTAX = re.compile(
    r"""(?:
        [^\\\[\](){}*+?]                                  # a character, . ^ $ or |
      | \\(?:[dDwWsSbBtnrfv]|x[0-9a-fA-F]{2}|[!-/:;=?@\[-`{-~])
      | \[\^?\]?(?:\\(?:[dDwWsStnrfv]|x[0-9a-fA-F]{2}|[!-/:;=?@\[-`{-~])|(?!--|&&|~~)[^\[\]\\])*\]
      | \((?:\?(?:[ims]+)?:|\?P<[a-z_][a-z0-9_]*>|(?!\?)) | \)
      | (?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??(?![*+?{])
    )*+""",
    re.VERBOSE,
)
"""What Python's regular expressions and the ingestor's have in common; the latter take linear time on any text.

To the ingestor `\\<` and `\\>` are the ends of a word, and in a class they are no escapes at all.
"""


def mistakes(field: Field) -> Iterator[tuple[str, str]]:
    """The key of the field that is wrong, and a sentence about it."""
    if not NAME.match(field.name):
        yield "name", f"{field.name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, 63 at most"
    if field.name in TAKEN:
        yield "name", f"field {field.name!r} has a name that Postgres keeps for itself"
    if not kinds.is_known(field.type):
        known = ", ".join([*kinds.SQL, "decimal(digits,scale)"])
        yield "type", f"field {field.name!r} has type {field.type!r}; known are {known}"
        return
    for key, what in _mistakes(field):
        yield key, f"field {field.name!r} {what}"


def _mistakes(field: Field) -> Iterator[tuple[str, str]]:
    if field.generated and field.type != "integer":
        yield "generated", "is generated, so its type must be integer"
    if field.generated and field.default is not None:
        yield "default", "is generated, so it can't have a default"
    if field.max_length is not None and field.type != "string":
        yield "max_length", "has max_length, which only string fields have"
    if field.max_length is not None and field.max_length < 1:
        yield "max_length", "has a max_length that no text can keep"
    if field.references is not None and not REFERENCE.match(field.references):
        yield "references", f"references {field.references!r}, which is not of the form dataset.field"
    if field.pattern is not None and (wrong := _wrong_with(field.pattern)):
        yield "pattern", f"has a pattern that {wrong}"
    if field.enum is not None:
        yield from _mistakes_of_enum(field, field.enum)
    if (wrong := _wrong_default(field, field.default)) is not None:
        yield "default", f"has the default {field.default!r}, {wrong}"
    yield from _mistakes_of_bounds(field)


def _mistakes_of_enum(field: Field, values: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not values:
        yield "enum", "has an enum without a value"
    if len(set(values)) < len(values):
        yield "enum", "has an enum with a value that occurs twice"
    for value in values:
        if not literals.holds(field.type, value):
            yield "enum", f"has {value!r} in its enum, which is no {field.type}"


def _mistakes_of_bounds(field: Field) -> Iterator[tuple[str, str]]:
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    told = {name: bound for name, bound in bounds.items() if bound is not None}
    if told and kinds.base(field.type) not in BOUNDED:
        yield next(iter(told)), f"has {' and '.join(told)}, which a {field.type} does not"
        return
    wrong = [name for name, bound in told.items() if not _is_bound(field.type, bound)]
    for name in wrong:
        yield name, f"has the {name} {told[name]!r}, which is no {field.type}"
    if len(told) < len(bounds) or wrong:
        return
    if kinds.base(field.type) in kinds.NUMERIC:
        crossed = Decimal(str(field.minimum)) > Decimal(str(field.maximum))
    else:  # with offsets, moments can't be compared as text
        crossed = field.type != "datetime" and str(field.minimum) > str(field.maximum)
    if crossed:
        yield "minimum", "has a minimum above its maximum"


def _is_bound(kind: str, bound: float | str) -> bool:
    """Whether the ingestor can compare values with it: exactly, unless they are numbers of the inexact type."""
    if kinds.base(kind) not in kinds.NUMERIC:
        return literals.holds(kind, str(bound)) or (kind == "datetime" and literals.holds("date", str(bound)))
    if not literals.holds("number", str(bound)):
        return False
    scale = kinds.precision(kind)[1] if kinds.base(kind) == "decimal" else 0
    try:
        whole = Decimal(str(bound)).quantize(Decimal(1).scaleb(-scale))
    except InvalidOperation:
        return kind == "number"
    return kind != "integer" or literals.LEAST_INTEGER <= whole <= literals.MOST_INTEGER


def _wrong_default(field: Field, default: Any) -> str | None:
    if default is None or field.defaults_to_now:
        return None
    if field.type == "string" and not isinstance(default, str):
        return "which is not text"
    text = _text(default)
    if text is None or not literals.holds(field.type, text):
        return f"which is no {field.type}"
    if field.enum is not None and text not in field.enum:
        return "which is not in its enum"
    if field.max_length is not None and len(text) > field.max_length:
        return "which is longer than its max_length"
    return None


def _text(default: Any) -> str | None:
    """As a file would bring it."""
    if isinstance(default, str):
        return default
    if isinstance(default, float):
        return format(Decimal(repr(default)), "f") if math.isfinite(default) else None
    return msgspec.json.encode(default).decode()


def _wrong_with(pattern: str) -> str | None:
    if len(pattern) > LONGEST_PATTERN:
        return f"is longer than {LONGEST_PATTERN} characters"
    if not SYNTAX.fullmatch(pattern):
        return "can't be searched for in linear time: look-around, back references and the like are not there"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return None
