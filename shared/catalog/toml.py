"""Writes a declaration as TOML."""

import json
import re
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(declaration: dict[str, Any]) -> str:
    """Returns one line for each key, and one for each table of a list. Raises TypeError for null."""
    short = {key: _inline(value) for key, value in declaration.items() if not _is_long(value)}
    long = {
        key: "[\n" + "".join(f"  {_inline(item)},\n" for item in value) + "]"
        for key, value in declaration.items()
        if _is_long(value)
    }
    return "".join(f"{_key(key)} = {text}\n" for key, text in (short | long).items())


def _is_long(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict) for item in value)


def _inline(value: Any) -> str:
    match value:
        case bool() | int() | float():
            return json.dumps(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_inline, value)) + "]"
    raise TypeError(f"TOML has no value for {value!r}")


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else _inline(key)
