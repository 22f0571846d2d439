"""The documentation: every command of the README, the tutorial and the guides runs as written and prints something.

Only `sh` blocks are run. A `console` block shows a session that changes too much, or needs more than a test stack.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.app import main
from deploy import reference
from deploy.local import packages
from tests.stack import ROOT, Stack

BLOCKS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
VARIABLE = re.compile(r"[A-Z]+=")
PARTIAL = 3
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")


def commands(page: Path) -> list[str]:
    """Returns the commands of a page, one per line of its blocks; each with the lines before it that set variables."""
    found: list[str] = []
    for block in BLOCKS.findall(page.read_text()):
        variables = ""
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            command = line.split("  #")[0].strip()
            if command.startswith(". ") or VARIABLE.match(command):
                variables += command + "\n"
            elif command:
                found.append(variables + command)
    return found


@pytest.fixture(scope="session")
def curl() -> None:
    """Installs curl on a bare machine."""
    if shutil.which("curl"):
        return
    install = "apt-get install -y --no-install-recommends curl"
    script = f"{install} || {{ apt-get update && {install}; }}"
    with packages.installing():
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"The examples need curl; install it (`sudo apt-get install curl`).\n{done.stderr}")


def run(stack: Stack, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the documentation against the test stack."""
    here = command.replace("/tmp/", f"{stack.home}/")  # noqa: S108
    here = here.replace(".local/", f"{stack.home}/").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    return subprocess.run(
        ["sh", "-ec", here],
        cwd=ROOT,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "MILLRACE_HOME": str(stack.home),
            "HOME": str(stack.home),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture(scope="session")
def samples(stack: Stack) -> None:
    """Imports what `make demo` imports, so that the examples have something to show."""
    for name in ("departments", "jobs", "hired_employees", "contacts", "items"):
        done = run(stack, f".venv/bin/millrace import samples/{name}.csv -d {name}")
        assert done.returncode in (0, PARTIAL), done.stdout + done.stderr


def test_every_page_with_commands_is_found() -> None:
    assert len(commands(ROOT / "README.md")) >= 15
    assert sum(len(commands(page)) for page in PAGES) >= 40


@pytest.mark.usefixtures("curl", "samples")
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_commands_of_a_page_work_in_order_and_print_something(stack: Stack, page: Path) -> None:
    for command in commands(page):
        if command in ("make demo", "make check test", "make status"):  # they would start the suite, or another stack
            assert run(stack, command.replace("make", "make -n")).returncode == 0
            continue
        done = run(stack, command)
        good = (0, PARTIAL) if " import " in command else (0,)
        assert done.returncode in good, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), f"{command}\nprints nothing"
        assert '"type":"https://' not in done.stdout, f"{command}\n{done.stdout}"
        assert '"data":[]' not in done.stdout, f"{command}\nfinds nothing"


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", reference.pages(), ids=lambda page: page.name)
def test_generated_tables_are_current(page: Path) -> None:
    assert reference.fill(page.read_text()) == page.read_text(), "run make docs"


def test_the_command_line_page_has_every_command_with_the_first_sentence_of_its_help() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", page, re.MULTILINE))
    assert rows == {name: re.split(r"(?<=\.)\s", command.help or "")[0] for name, command in main.commands.items()}


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_existing_metrics(page: Path) -> None:
    if page.name == "CONTRIBUTING.md":  # its recipe adds one
        return
    assert set(re.findall(r"`(millrace_\w+)`", page.read_text())) <= set(
        re.findall(r"`(millrace_\w+)`", reference.all_metrics())
    )
