"""Finds mistakes in the fields of a dataset."""

import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from shared.catalog import field_types, literals
from shared.catalog.dataset import Field
from shared.catalog.field_types import FieldType

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
REFERENCE = re.compile(r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}\Z")
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
"""Postgres adds these columns to every table."""
LONGEST_PATTERN = 1000
PATTERN = re.compile(
    r"""(?:
        [^\\\[\](){}*+?]                                  # a character, . ^ $ or |
      | \\(?:[dDwWsSbBtnrfv]|x[0-9a-fA-F]{2}|[!-/:;=?@\[-`{-~])
      | \[\^?\]?(?:\\(?:[dDwWsStnrfv]|x[0-9a-fA-F]{2}|[!-/:;=?@\[-`{-~])|(?!--|&&|~~)[^\[\]\\])*\]
      | \((?:\?(?:[ims]+)?:|\?P<[a-z_][a-z0-9_]*>|(?!\?)) | \)
      | (?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??(?![*+?{])
    )*+""",
    re.VERBOSE,
)
"""The syntax that Python's regular expressions share with those of the ingestor, which take linear time on any text.

The ingestor reads `\\<` and `\\>` as word boundaries, and rejects them in a character class.
"""


def find_mistakes(field: Field) -> Iterator[tuple[str, str]]:
    """Yields the key of each wrong value with a sentence about it."""
    if not NAME.match(field.name):
        yield "name", f"{field.name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, 63 at most"
    if field.name in SYSTEM_COLUMNS:
        yield "name", f"field {field.name!r} has the name of a system column of Postgres"
    try:
        field_type = field_types.find(field.type)
    except KeyError:
        known = ", ".join(field_types.names())
        yield "type", f"field {field.name!r} has type {field.type!r}; known are {known}"
        return
    for key, detail in _find_mistakes(field, field_type):
        yield key, f"field {field.name!r} {detail}"


def _find_mistakes(field: Field, field_type: FieldType) -> Iterator[tuple[str, str]]:
    if field.generated and field.type != "integer":
        yield "generated", "is generated, so its type must be integer"
    if field.generated and field.default is not None:
        yield "default", "is generated, so it can't have a default"
    if field.max_length is not None and field.type != "string":
        yield "max_length", "has max_length, which only string fields have"
    if field.max_length is not None and field.max_length < 1:
        yield "max_length", "has a max_length below 1"
    if field.references is not None and not REFERENCE.match(field.references):
        yield "references", f"references {field.references!r}, which is not of the form dataset.field"
    if field.pattern is not None and (reason := _check_pattern(field.pattern)):
        yield "pattern", f"has a pattern that {reason}"
    if field.enum is not None:
        yield from _check_enum(field, field.enum, field_type)
    if (reason := _check_default(field, field_type)) is not None:
        yield "default", f"has the default {field.default!r}, {reason}"
    yield from _check_bounds(field, field_type)


def _check_enum(field: Field, values: tuple[str, ...], field_type: FieldType) -> Iterator[tuple[str, str]]:
    if not values:
        yield "enum", "has an enum without a value"
    if len(set(values)) < len(values):
        yield "enum", "has an enum with a value that occurs twice"
    for value in values:
        if not field_type.holds(value):
            yield "enum", f"has {value!r} in its enum, which is no {field.type}"


def _check_bounds(field: Field, field_type: FieldType) -> Iterator[tuple[str, str]]:
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    declared = {name: bound for name, bound in bounds.items() if bound is not None}
    if declared and not field_type.bounded:
        yield next(iter(declared)), f"has {' and '.join(declared)}, which a {field.type} can't have"
        return
    bad = [name for name, bound in declared.items() if not _is_bound(field, bound, field_type)]
    for name in bad:
        yield name, f"has the {name} {declared[name]!r}, which is no {field.type}"
    if len(declared) < len(bounds) or bad:
        return
    if field_type.numeric:
        crossed = Decimal(str(field.minimum)) > Decimal(str(field.maximum))
    else:  # text can't order moments that have offsets
        crossed = field.type != "datetime" and str(field.minimum) > str(field.maximum)
    if crossed:
        yield "minimum", "has a minimum above its maximum"


def _is_bound(field: Field, bound: float | str, field_type: FieldType) -> bool:
    """Whether the ingestor can compare values with the bound: exactly, unless the type is inexact."""
    if not field_type.numeric:
        return field_types.find_parameter(field.type).holds(str(bound))
    if not literals.is_number(str(bound)):
        return False
    try:
        rounded = Decimal(str(bound)).quantize(Decimal(1).scaleb(-(field_type.scale or 0)))
    except InvalidOperation:
        return field_type.scale is None
    return field.type != "integer" or literals.LEAST_INTEGER <= rounded <= literals.MOST_INTEGER


def _check_default(field: Field, field_type: FieldType) -> str | None:
    default = field.default
    if default is None or field.defaults_to_now:
        return None
    if field.type == "string" and not isinstance(default, str):
        return "which is not text"
    text = _to_text(default)
    if text is None or not field_type.holds(text):
        return f"which is no {field.type}"
    if field.enum is not None and text not in field.enum:
        return "which is not in its enum"
    if field.max_length is not None and len(text) > field.max_length:
        return "which is longer than its max_length"
    return None


def _to_text(default: Any) -> str | None:
    """Returns the default as a file would write it."""
    if isinstance(default, str):
        return default
    if isinstance(default, float):
        return format(Decimal(repr(default)), "f") if math.isfinite(default) else None
    return msgspec.json.encode(default).decode()


def _check_pattern(pattern: str) -> str | None:
    if len(pattern) > LONGEST_PATTERN:
        return f"is longer than {LONGEST_PATTERN} characters"
    if not PATTERN.fullmatch(pattern):
        return "can't be searched for in linear time: look-around, back references and the like are not supported"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return None
