"""The voice of code and documentation: field terms, plain sentences, none of the old names."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import FOLDERS, sources
from tests.stack import ROOT

WORDS = re.compile(r"\b(told|tells|anew|whoever|befalls?|meddled|of none|asked|is said|are said)\b", re.IGNORECASE)
OLD_NAMES = {
    *(
        "told",
        "given",
        "Told",
        "TOLD",
        "Letter",
        "Deaf",
        "Judged",
        "Said",
        "Terms",
        "Asked",
        "Question",
        "Kept",
        "Sheet",
    ),
    *("Clock", "lingering", "judging", "verdicts", "mending", "attaching", "ticking", "visits"),
}
OLD_MODULES = {
    *("evidence", "judging", "terms_", "asking", "kept", "lingering", "measures", "attaching", "unfinished", "mending"),
    *("accepting", "verdicts", "texts", "cells", "objects", "records", "elements", "cutting", "selecting", "copying"),
    *("known", "entries", "generations", "finding", "matching", "meaning", "correcting", "completing", "visits"),
    *("ticking", "computing", "statements"),
}
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "DECISIONS.md", "CONTRIBUTING.md", "CHANGELOG.md")]


def pages() -> list[Path]:
    return [*PAGES, *(ROOT / "docs").rglob("*.md"), *(ROOT / "shared").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_code_speaks_plainly(folder: str) -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in sources(folder)
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if WORDS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_speaks_plainly(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    assert [f"{number}: {line}" for number, line in lines if WORDS.search(line)] == []


def names(tree: ast.Module) -> set[str]:
    """Returns the names that a module defines: classes, functions, parameters, variables and attributes."""
    found = set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name.lstrip("_"))
    return found


def test_no_old_name_is_left() -> None:
    found = {path: names(ast.parse((ROOT / path).read_text())) & OLD_NAMES for path in sources(*FOLDERS)}
    assert {path: old for path, old in found.items() if old} == {}
    assert {path for path in sources(*FOLDERS) if Path(path).stem in OLD_MODULES} == set()


def test_every_module_says_what_it_is() -> None:
    silent = [
        path
        for path in sources(*FOLDERS)
        if (text := (ROOT / path).read_text()).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []
