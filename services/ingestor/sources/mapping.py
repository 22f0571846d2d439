"""From what a source answered to rows of the dataset: as JSON objects, one on each line. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from shared.catalog import jsonpath
from shared.catalog.dataset import Dataset
from shared.catalog.source import Source

# Numbers stay as exact as they came.
READER = msgspec.json.Decoder(float_hook=Decimal)
WRITER = msgspec.json.Encoder(decimal_format="number")


class Unreadable(Exception):
    """The answer is not what the source is declared to give."""


def read(body: bytes, encoding: str, source: Source) -> Any:
    """The document; of a text, the text. Raises Unreadable."""
    try:
        if source.format == "text":
            return body.decode(encoding).strip()
        return READER.decode(body) if body.strip() else None
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, RecursionError) as error:
        raise Unreadable(f"it is no {'JSON' if source.format == 'json' else 'text'} ({error})") from error


def rows(document: Any, source: Source) -> list[Any]:
    """What the selector leads to: the members of a list, or itself. Nothing, null and an empty text are no row."""
    found = jsonpath.find(document, source.data_selector)
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    return [row for row in found if row is not None and row != ""]


def columns(source: Source, dataset: Dataset) -> tuple[str, ...]:
    """The fields that the source may fill."""
    return tuple(field.name for field in dataset.input_fields if not source.fields or field.name in source.fields)


def to_lines(found: Iterable[Any], source: Source, names: Sequence[str]) -> list[bytes]:
    """A line for each row, with its values under the names of the fields; a value that is not there stays away."""
    return [WRITER.encode(_named(row, source, names)) for row in found]


def _named(row: Any, source: Source, names: Sequence[str]) -> Any:
    if source.fields:
        values = ((name, jsonpath.find(row, path)) for name, path in source.fields.items())
        return {name: value[0] for name, value in values if value}
    return {name: row[name] for name in names if name in row} if isinstance(row, dict) else row


def ids(found: Iterable[Any], source: Source, dataset: Dataset) -> set[str]:
    """What the rows have as `id_field`, written as Postgres writes it."""
    if source.delete_missing is None:
        return set()
    name = source.delete_missing.id_field
    kind = dataset.field(name).type
    values = (_named(row, source, (name,)) for row in found)
    told = (_written(value.get(name), kind) for value in values if isinstance(value, dict))
    return {text for text in told if text is not None}


def _written(value: Any, kind: str) -> str | None:
    """None for what can't be an id of the kind."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else WRITER.encode(value).decode()
    if kind == "integer":
        try:
            return str(int(text))
        except ValueError:
            return None
    return text.strip().lower() if kind == "uuid" else text


def highest(found: Iterable[Any], path: str, so_far: str | None) -> str | None:
    """The greatest of the values at the path and of the one before: numbers as numbers, all else as text."""
    for row in found:
        value = jsonpath.first(row, path)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            continue
        if so_far is None or _is_above(value, so_far):
            so_far = str(value)
    return so_far


def _is_above(value: str | int | Decimal, so_far: str) -> bool:
    if isinstance(value, str):
        return value > so_far
    try:
        return Decimal(value) > Decimal(so_far)
    except InvalidOperation:
        return str(value) > so_far
