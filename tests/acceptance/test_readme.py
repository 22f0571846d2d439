"""Every command of the README is run, as it stands there, against the test stack."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import packages
from tests.stack import ROOT, Stack

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PARTIAL = 3


def commands() -> list[str]:
    """A command a line; continued lines are joined, and what sets variables goes with the commands behind it."""
    found: list[str] = []
    for block in BLOCKS:
        settings = ""
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            command = line.split("  #")[0].strip()
            if command.startswith((". ", "KEY=")):
                settings += command + "\n"
            elif command:
                found.append(settings + command)
    return found


@pytest.fixture(scope="session")
def curl() -> None:
    """Installed on a bare machine, as anyone would who wants to follow the README."""
    if shutil.which("curl"):
        return
    install = "apt-get install -y --no-install-recommends curl"
    script = f"{install} || {{ apt-get update && {install}; }}"
    with packages.installing():
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"The README's examples need curl; install it (`sudo apt-get install curl`).\n{done.stderr}")


def test_the_readme_has_commands() -> None:
    assert len(commands()) >= 10


@pytest.mark.usefixtures("curl")
@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(stack: Stack, command: str) -> None:
    if command == "make check test":  # this is what runs: enough that make knows it
        command = "make -n check test"
    here = command.replace(".local/", f"{stack.home}/").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    done = subprocess.run(
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
    good = (0, PARTIAL) if " import " in command else (0,)
    assert done.returncode in good, done.stdout + done.stderr
    if "curl" in command:
        assert done.stdout.strip()
        assert '"type":"https://' not in done.stdout, done.stdout
