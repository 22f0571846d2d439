"""The source files of the project."""

import ast
from collections.abc import Iterator

from tests.stack import ROOT

FOLDERS = ("services", "shared", "cli", "deploy", "sandbox")


def sources(*folders: str) -> list[str]:
    """Paths of the modules in these folders, from the root."""
    found = [str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert found, f"there is nothing in {folders}"
    return sorted(found)


def imported(tree: ast.Module) -> Iterator[str]:
    """Full names of modules and of what is taken from them, also those imported within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str) -> set[str]:
    """Paths of the modules that import the package or something in it."""
    return {
        path
        for path in sources(*FOLDERS)
        if any(
            name == package or name.startswith(f"{package}.") for name in imported(ast.parse((ROOT / path).read_text()))
        )
    }
