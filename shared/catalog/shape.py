"""What keeps a declaration from being read at all: keys that are not known, missing ones, values of the wrong sort."""

import re
import types
import typing
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec


class Mistake(NamedTuple):
    """What is wrong, and where: a JSON pointer into the declaration, like `#/fields/0/type`."""

    pointer: str
    detail: str


def misfits(value: Any, kind: Any, pointer: str = "#") -> Iterator[Mistake]:
    """Everything about the value that isn't of the type; msgspec alone would stop at the first."""
    struct, item = _struct(kind), _item(kind)
    if struct is not None and isinstance(value, dict):
        yield from _of_struct(value, struct, pointer)
    elif item is not None and isinstance(value, list):
        for number, one in enumerate(value):
            yield from misfits(one, item, f"{pointer}/{number}")
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            detail, _, path = str(error).partition(" - at `$")
            yield _mistake(pointer + _pointer(path), detail)


def _of_struct(value: dict[str, Any], kind: type[msgspec.Struct], pointer: str) -> Iterator[Mistake]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key in sorted(value.keys() - fields.keys()):
        near = get_close_matches(key, fields, 1)
        known = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
        yield _mistake(f"{pointer}/{_escaped(key)}", f"unknown key; {known}")
    for name, field in fields.items():
        if name in value:
            yield from misfits(value[name], field.type, f"{pointer}/{name}")
        elif field.required:
            yield _mistake(f"{pointer}/{name}", "missing")


def _mistake(pointer: str, detail: str) -> Mistake:
    return Mistake(pointer, f"{place(pointer)}: {detail}")


def place(pointer: str) -> str:
    """`#/fields/0/type` as people write it: `fields[0].type`."""
    return re.sub(r"/([0-9]+)", r"[\1]", pointer.removeprefix("#")).removeprefix("/").replace("/", ".") or "declaration"


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    """The type, or that of `type | None`, if it is a struct."""
    choices = [one for one in typing.get_args(kind) if one is not types.NoneType] if _is_union(kind) else [kind]
    one = choices[0] if len(choices) == 1 else None
    return one if isinstance(one, type(msgspec.Struct)) and one.__struct_config__.tag is None else None


def _item(kind: Any) -> Any:
    """The `X` of `tuple[X, ...]`."""
    arguments = typing.get_args(kind)
    return arguments[0] if arguments[1:] == (...,) else None


def _is_union(kind: Any) -> bool:
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def _pointer(path: str) -> str:
    """`.enum[0]` is `/enum/0`."""
    return path.removesuffix("`").replace(".", "/").replace("[", "/").replace("]", "")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
