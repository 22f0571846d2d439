"""Temporary stack for the measurements, in its own state folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.local.addresses import EXTERNAL_VARIABLES
from deploy.local.state import REPOSITORY, Home, assignments

MILLRACE = Path(sys.executable).with_name("millrace")


class Stack(NamedTuple):
    """A running stack; `env` are the variables of its state folder."""

    home: Home
    env: dict[str, str]
    key: str

    @property
    def url(self) -> str:
        """Address of the gateway."""
        return self.env["GATEWAY_URL"]

    def up(self, *parts: str) -> None:
        """Starts these parts, or all."""
        _millrace(self.home, "up", *parts)

    def down(self, *parts: str) -> None:
        """Stops these parts."""
        _millrace(self.home, "down", *parts)


@contextmanager
def running() -> Iterator[Stack]:
    """Starts a stack and removes it after the block. TMPDIR chooses the disk."""
    home = Home(Path(tempfile.mkdtemp(prefix="millrace-bench-")))
    home.folder.chmod(0o711)  # Postgres' user must be able to enter it
    try:
        _millrace(home, "up")
        yield Stack(home, assignments(home.env.read_text()), home.api_key.read_text().strip())
    finally:
        _millrace(home, "down")
        _remove(home)


def _millrace(home: Home, *arguments: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in EXTERNAL_VARIABLES}
    done = subprocess.run(
        [MILLRACE, *arguments],
        env={**env, "MILLRACE_HOME": str(home.folder)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"millrace {' '.join(arguments)} failed:\n{done.stdout}")


def _remove(home: Home) -> None:
    data = home.postgres.resolve()
    shutil.rmtree(home.folder, ignore_errors=True)
    if not data.is_relative_to(home.folder):
        shutil.rmtree(data.parent, ignore_errors=True)
