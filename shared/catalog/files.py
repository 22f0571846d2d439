"""Reads declarations of datasets from the files `datasets/<name>.toml` of a catalog folder, or from JSON."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shared.catalog.dataset import Dataset
from shared.catalog.dataset_mistakes import find_mistakes
from shared.catalog.report import Report
from shared.catalog.shape import Mistake, check_shape

Declaration = TypeVar("Declaration", Dataset, Report)


class BadDeclaration(Exception):
    """A declaration is invalid: one line for each mistake, with its file if there is one."""

    def __init__(self, text: str, mistakes: Sequence[Mistake] = ()) -> None:
        super().__init__(text)
        self.mistakes = tuple(mistakes)


def read_datasets(catalog: Path) -> tuple[Dataset, ...]:
    """Returns all datasets, sorted by name. Raises BadDeclaration with every mistake of every file."""
    datasets: list[Dataset] = []
    errors: list[str] = []
    for path in sorted((catalog / "datasets").glob("*.toml")):
        try:
            datasets.append(to_dataset(path.stem, tomllib.loads(path.read_text())))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, BadDeclaration) as error:
            errors += [f"{path}: {line}" for line in str(error).splitlines()]
    if errors:
        raise BadDeclaration("\n".join(errors))
    return tuple(datasets)


def to_dataset(name: str, declaration: Any) -> Dataset:
    """Converts and validates a declaration of a dataset. Raises BadDeclaration with every mistake."""
    dataset = convert(name, declaration, Dataset)
    if mistakes := find_mistakes(dataset):
        raise _to_error(mistakes)
    return dataset


def convert(name: str, declaration: Any, kind: type[Declaration]) -> Declaration:
    """Converts a declaration after checking its keys and value types only. Raises BadDeclaration with every mistake."""
    if not isinstance(declaration, dict):
        raise _to_error([Mistake("#", "a declaration must be an object of keys and values")])
    if "name" in declaration:
        raise _to_error([Mistake("#/name", "remove the key: the name comes from the file name or the URL")])
    # The declaration is stored as JSON, which lacks TOML's dates.
    value = msgspec.to_builtins({**declaration, "name": name})
    if mistakes := list(check_shape(value, kind)):
        raise _to_error(mistakes)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _to_error([Mistake("#", str(error))]) from error


def _to_error(mistakes: Sequence[Mistake]) -> BadDeclaration:
    return BadDeclaration("\n".join(mistake.detail for mistake in mistakes), mistakes)
