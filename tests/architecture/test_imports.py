"""The import contracts of `.importlinter`: they hold, and they cover what they should."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import imported, sources
from tests.stack import ROOT, SERVICES

LINTER = Path(sys.executable).with_name("lint-imports")


def test_the_import_rules_are_kept() -> None:
    done = subprocess.run([LINTER, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other_service(service: str) -> None:
    others = tuple(f"services.{other}" for other in SERVICES if other != service)
    guilty = {
        f"{path}: {name}"
        for path in sources(f"services/{service}")
        for name in imported(ast.parse((ROOT / path).read_text()))
        if name.startswith(others)
    }
    assert guilty == set()


def test_every_service_is_among_those_that_must_not_import_each_other() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    modules = rules["importlinter:contract:services"]["modules"].split()
    folders = {path.parent.name for path in ROOT.glob("services/*/__init__.py")}
    assert folders == set(SERVICES)
    assert modules == [f"services.{name}" for name in SERVICES]
