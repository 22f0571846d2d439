"""The recipes of CONTRIBUTING.md: each is applied to a copy of the checkout, and its commands work and print something.

A recipe is Markdown. "Create `path`:", "In `path`, after `text`:" (inserts the block below the first such line) and
"In `path`, replace `old` by `new`." are edits; `sh` blocks are run in the copy.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.stack import ROOT

BIN = Path(sys.executable).parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL))
STEP = re.compile(
    r"Create `(?P<created>[^`]+)`:\n+```\w+\n(?P<content>.*?)```"
    r"|[Ii]n `(?P<extended>[^`]+)`, after `(?P<anchor>(?:\\`|[^`])+)`:\n+```\w+\n(?P<insertion>.*?)```"
    r"|[Ii]n `(?P<changed>[^`]+)`, replace `(?P<old>[^`]+)` by `(?P<new>[^`]+)`\."
    r"|```sh\n(?P<commands>.*?)```",
    re.DOTALL,
)
MOST_SECONDS = 120


class Copy(NamedTuple):
    """A copy of the checkout's files."""

    folder: Path

    def insert(self, path: str, anchor: str, text: str) -> None:
        """Inserts the text after the first line that contains the anchor."""
        lines = (self.folder / path).read_text().splitlines(keepends=True)
        place = next((number for number, line in enumerate(lines, 1) if anchor in line), None)
        assert place is not None, f"{path} has no line with {anchor!r}"
        (self.folder / path).write_text("".join([*lines[:place], text, *lines[place:]]))

    def replace(self, path: str, old: str, new: str) -> None:
        """Replaces the first occurrence."""
        text = (self.folder / path).read_text()
        assert old in text, f"{path} does not contain {old!r}"
        (self.folder / path).write_text(text.replace(old, new, 1))

    def create(self, path: str, text: str) -> None:
        """Creates a file that does not exist yet."""
        assert not (self.folder / path).exists(), f"{path} exists"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def run(self, command: str) -> str:
        """Runs a command in the copy and returns its output."""
        done = subprocess.run(
            ["sh", "-ec", command.replace(".venv/bin/", f"{BIN}/")],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=MOST_SECONDS,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Copies the files that git knows or would add."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    return Copy(tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_as_written(copy: Copy, name: str) -> None:
    printed = []
    for step in STEP.finditer(RECIPES[name]):
        if step["created"]:
            copy.create(step["created"], step["content"])
        elif step["extended"]:
            copy.insert(step["extended"], step["anchor"].replace("\\`", "`"), step["insertion"])
        elif step["changed"]:
            copy.replace(step["changed"], step["old"], step["new"])
        else:
            printed += [copy.run(line) for line in step["commands"].splitlines()]
    assert printed, f"{name} has no commands"
    assert all(text.strip(" []\n") for text in printed), f"a command of {name} prints nothing"


def test_there_is_a_recipe_for_everything_that_one_adds() -> None:
    things = ("dataset", "report", "metric", "route", "event", "kind of job", "service")
    assert {f"Add a {thing}" for thing in things if thing != "event"} | {"Add an event"} <= RECIPES.keys()
