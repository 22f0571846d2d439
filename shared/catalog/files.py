"""The declarations of datasets in a catalog folder: `datasets/*.toml`, each named like what it declares."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shared.catalog.dataset import Dataset
from shared.catalog.mistakes import mistakes
from shared.catalog.report import Report
from shared.catalog.shape import Mistake, misfits

Declaration = TypeVar("Declaration", Dataset, Report)


class BadDeclaration(Exception):
    """A declaration, or the catalog, can't be used: one line for each mistake, with its file if it is from one."""

    def __init__(self, text: str, mistakes: Sequence[Mistake] = ()) -> None:
        super().__init__(text)
        self.mistakes = tuple(mistakes)


def read_datasets(catalog: Path) -> tuple[Dataset, ...]:
    """All datasets, by name. Raises BadDeclaration with every mistake of every file."""
    declarations: list[Dataset] = []
    wrong: list[str] = []
    for path in sorted((catalog / "datasets").glob("*.toml")):
        try:
            declarations.append(to_dataset(path.stem, tomllib.loads(path.read_text())))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, BadDeclaration) as error:
            wrong += [f"{path}: {line}" for line in str(error).splitlines()]
    if wrong:
        raise BadDeclaration("\n".join(wrong))
    return tuple(declarations)


def to_dataset(name: str, declaration: Any) -> Dataset:
    """The dataset that a declaration without its name describes. Raises BadDeclaration with every mistake."""
    dataset = convert(name, declaration, Dataset)
    if found := mistakes(dataset):
        raise _bad(found)
    return dataset


def convert(name: str, declaration: Any, kind: type[Declaration]) -> Declaration:
    """Of the right shape; what it means is not looked at. Raises BadDeclaration with every mistake."""
    if not isinstance(declaration, dict):
        raise _bad([Mistake("#", "a declaration is an object of keys and values")])
    if "name" in declaration:
        raise _bad(
            [Mistake("#/name", "a declaration does not name itself: its file does, or the address it is put to")]
        )
    # TOML has dates of its own; JSON, which the declaration is kept in, has not.
    value = msgspec.to_builtins({**declaration, "name": name})
    if found := list(misfits(value, kind)):
        raise _bad(found)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _bad([Mistake("#", str(error))]) from error


def _bad(found: Sequence[Mistake]) -> BadDeclaration:
    return BadDeclaration("\n".join(mistake.detail for mistake in found), found)
