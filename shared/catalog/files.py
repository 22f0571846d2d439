"""The declarations in a catalog folder: `datasets/*.toml` and `reports/*.toml`, each named like what it declares."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shared.catalog.dataset import Dataset, mistakes
from shared.catalog.report import Report

Declaration = TypeVar("Declaration", Dataset, Report)


class BadDeclaration(Exception):
    """The catalog can't be used: one line for each mistake, with its file."""


def read_datasets(catalog: Path) -> tuple[Dataset, ...]:
    """All datasets, by name. Raises BadDeclaration with every mistake of every file."""
    return _read(catalog / "datasets", Dataset, mistakes)


def read_reports(catalog: Path) -> tuple[Report, ...]:
    """All reports, by name. Raises BadDeclaration with every mistake of every file."""
    return _read(catalog / "reports", Report, Report.mistakes)


def to_dataset(name: str, declaration: dict[str, Any]) -> Dataset:
    """The dataset that a declaration without its name describes. Raises BadDeclaration."""
    dataset = _convert(name, declaration, Dataset)
    if found := mistakes(dataset):
        raise BadDeclaration("\n".join(found))
    return dataset


def _convert(name: str, declaration: dict[str, Any], kind: type[Declaration]) -> Declaration:
    try:
        return msgspec.convert({**declaration, "name": name}, kind)
    except msgspec.ValidationError as error:
        raise BadDeclaration(str(error)) from error


def _read(folder: Path, kind: type[Declaration], check: Callable[[Declaration], list[str]]) -> tuple[Declaration, ...]:
    declarations: list[Declaration] = []
    wrong: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            declaration = _convert(path.stem, tomllib.loads(path.read_text()), kind)
        except (tomllib.TOMLDecodeError, BadDeclaration) as error:
            wrong.append(f"{path}: {error}")
            continue
        found = check(declaration)
        wrong += [f"{path}: {mistake}" for mistake in found]
        declarations.append(declaration)
    if wrong:
        raise BadDeclaration("\n".join(wrong))
    return tuple(declarations)
