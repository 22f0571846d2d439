"""Maps the response of a source to rows of its dataset, as lines of JSON objects. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from shared.catalog import jsonpath
from shared.catalog.dataset import Dataset
from shared.catalog.source import Source

# Numbers stay exact.
DECODER = msgspec.json.Decoder(float_hook=Decimal)
ENCODER = msgspec.json.Encoder(decimal_format="number")


class UnreadableResponse(Exception):
    """The response has not the declared format."""


def read(body: bytes, encoding: str, source: Source) -> Any:
    """Returns the document, or the text of a text source. Raises UnreadableResponse."""
    try:
        if source.format == "text":
            return body.decode(encoding).strip()
        return DECODER.decode(body) if body.strip() else None
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, RecursionError) as error:
        raise UnreadableResponse(f"it is no {'JSON' if source.format == 'json' else 'text'} ({error})") from error


def rows(document: Any, source: Source) -> list[Any]:
    """Returns what `data_selector` leads to: the members of a list, or the value. Null and empty texts are no rows."""
    found = jsonpath.find(document, source.data_selector)
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    return [row for row in found if row is not None and row != ""]


def columns(source: Source, dataset: Dataset) -> tuple[str, ...]:
    """Returns the fields that the source may fill."""
    return tuple(field.name for field in dataset.input_fields if not source.fields or field.name in source.fields)


def to_lines(rows: Iterable[Any], source: Source, names: Sequence[str]) -> list[bytes]:
    """Returns a line for each row, with its values under the names of the fields; missing values are left out."""
    return [ENCODER.encode(_select_values(row, source, names)) for row in rows]


def _select_values(row: Any, source: Source, names: Sequence[str]) -> Any:
    if source.fields:
        values = ((name, jsonpath.find(row, path)) for name, path in source.fields.items())
        return {name: value[0] for name, value in values if value}
    return {name: row[name] for name in names if name in row} if isinstance(row, dict) else row


def ids(rows: Iterable[Any], source: Source, dataset: Dataset) -> set[str]:
    """Returns the values of `id_field` as Postgres writes them."""
    if source.delete_missing is None:
        return set()
    name = source.delete_missing.id_field
    kind = dataset.field(name).type
    values = (_select_values(row, source, (name,)) for row in rows)
    texts = (_to_text(value.get(name), kind) for value in values if isinstance(value, dict))
    return {text for text in texts if text is not None}


def _to_text(value: Any, kind: str) -> str | None:
    """Returns None if the value can't be an id of the type."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else ENCODER.encode(value).decode()
    if kind == "integer":
        try:
            return str(int(text))
        except ValueError:
            return None
    return text.strip().lower() if kind == "uuid" else text


def highest(rows: Iterable[Any], path: str, so_far: str | None) -> str | None:
    """Returns the highest of `so_far` and the values at the path; compares numbers as numbers, all else as text."""
    for row in rows:
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
