"""Columns that a query may name, and the error for any other."""

from collections.abc import Iterable
from difflib import get_close_matches

from shared.catalog.dataset import ROW_KEY, Dataset, Field


class InvalidQuery(ValueError):
    """A query that can't be executed: `column` is the wrong parameter, `code` is stable, `detail` is for people."""

    def __init__(self, column: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column
        self.code = code
        self.detail = detail


def columns(dataset: Dataset) -> dict[str, Field]:
    """Returns the fields by name, with the generated key of a dataset that declares none."""
    fields = {field.name: field for field in dataset.fields}
    if not dataset.primary_key:
        fields[ROW_KEY] = Field(name=ROW_KEY, type="integer", required=True, generated=True)
    return fields


def quote_column(table: str, name: str) -> str:
    """Returns the qualified column. The catalog admits no name with a quote in it."""
    return f'{table}."{name}"'


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message: `did you mean …?`, or all known names if none is similar."""
    choices = list(known)
    similar = get_close_matches(name, choices, 1)
    return f"did you mean {similar[0]!r}?" if similar else f"there are {', '.join(choices)}."
