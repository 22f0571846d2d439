"""What a question may name: the columns of a dataset. And what is said if it names something else."""

from collections.abc import Iterable
from difflib import get_close_matches

from shared.catalog.dataset import ROW_KEY, Dataset, Field


class BadQuestion(ValueError):
    """What is asked can't be answered. `column` is the parameter that is wrong, `code` never changes."""

    def __init__(self, column: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column
        self.code = code
        self.detail = detail


def columns(dataset: Dataset) -> dict[str, Field]:
    """The fields by name, and the key that rows get who bring none."""
    found = {field.name: field for field in dataset.fields}
    if not dataset.primary_key:
        found[ROW_KEY] = Field(name=ROW_KEY, type="integer", required=True, generated=True)
    return found


def quoted(table: str, name: str) -> str:
    """The catalog lets no name through that has a quote in it."""
    return f'{table}."{name}"'


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: `did you mean …?`, or all that are known."""
    choices = list(known)
    near = get_close_matches(name, choices, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(choices)}."
