"""Checks the shape of a declaration: unknown keys, missing keys and values of the wrong type."""

import re
import types
import typing
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec


class Mistake(NamedTuple):
    """A mistake in a declaration. `pointer` is a JSON pointer, like `#/fields/0/type`."""

    pointer: str
    detail: str


def check_shape(value: Any, kind: Any, pointer: str = "#") -> Iterator[Mistake]:
    """Yields every mismatch of the value with the type; msgspec stops at the first one."""
    struct, item_type = _struct_type(kind), _item_type(kind)
    if struct is not None and isinstance(value, dict):
        yield from _check_struct(value, struct, pointer)
    elif item_type is not None and isinstance(value, list):
        for number, item in enumerate(value):
            yield from check_shape(item, item_type, f"{pointer}/{number}")
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            detail, _, path = str(error).partition(" - at `$")
            yield _mistake(pointer + _to_pointer(path), detail)


def _check_struct(value: dict[str, Any], kind: type[msgspec.Struct], pointer: str) -> Iterator[Mistake]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key in sorted(value.keys() - fields.keys()):
        near = get_close_matches(key, fields, 1)
        suggestion = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
        yield _mistake(f"{pointer}/{_escape(key)}", f"unknown key; {suggestion}")
    for name, field in fields.items():
        if name in value:
            yield from check_shape(value[name], field.type, f"{pointer}/{name}")
        elif field.required:
            yield _mistake(f"{pointer}/{name}", "missing")


def _mistake(pointer: str, detail: str) -> Mistake:
    return Mistake(pointer, f"{to_path(pointer)}: {detail}")


def to_path(pointer: str) -> str:
    """Converts a JSON pointer to a path: `#/fields/0/type` to `fields[0].type`."""
    return re.sub(r"/([0-9]+)", r"[\1]", pointer.removeprefix("#")).removeprefix("/").replace("/", ".") or "declaration"


def _struct_type(kind: Any) -> type[msgspec.Struct] | None:
    """Returns the struct of `Struct` or `Struct | None`; None for tagged structs and other types."""
    choices = (
        [choice for choice in typing.get_args(kind) if choice is not types.NoneType] if _is_union(kind) else [kind]
    )
    struct = choices[0] if len(choices) == 1 else None
    return struct if isinstance(struct, type(msgspec.Struct)) and struct.__struct_config__.tag is None else None


def _item_type(kind: Any) -> Any:
    """Returns the `X` of `tuple[X, ...]`; None for other types."""
    arguments = typing.get_args(kind)
    return arguments[0] if arguments[1:] == (...,) else None


def _is_union(kind: Any) -> bool:
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def _to_pointer(path: str) -> str:
    """Converts a path of msgspec: `.enum[0]` to `/enum/0`."""
    return path.removesuffix("`").replace(".", "/").replace("[", "/").replace("]", "")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
