"""Queries of what others have written: a row by its key."""

from typing import Any

from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.search import values as texts
from shared.search.columns import columns


class BadKey(ValueError):
    """The text can't be a key of the dataset."""


async def select_row(db: Connection, dataset: Dataset, text: str) -> dict[str, Any] | None:
    """By its key as text; the parts of a compound key are separated by commas. Raises BadKey."""
    key = to_key(dataset, text)
    conditions = " AND ".join(f'"{name}" = ${number}' for number, name in enumerate(dataset.key, 1))
    row = await db.fetchrow(f'SELECT {_columns(dataset)} FROM data."{dataset.name}" WHERE {conditions}', *key)
    return dict(row) if row else None


def to_key(dataset: Dataset, text: str) -> list[Any]:
    """The key's values. Raises BadKey."""
    parts = text.split(",") if len(dataset.key) > 1 else [text]
    if len(parts) != len(dataset.key):
        raise BadKey(f"the key has the parts {', '.join(dataset.key)}, separated by commas")
    known = columns(dataset)
    values = []
    for name, part in zip(dataset.key, parts, strict=True):
        try:
            values.append(texts.read(known[name].type, part))
        except texts.NotOfType as error:
            raise BadKey(f"{name} {error}") from error
    return values


def _columns(dataset: Dataset) -> str:
    return ", ".join(f'"{name}"' for name in columns(dataset))
