"""The peers' programs: what pip put into `.bench-venv`, and what Debian packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.state import REPOSITORY

VENV = REPOSITORY / ".bench-venv"


def peer_python() -> Path:
    """The interpreter that has the peers' packages."""
    python = VENV / "bin" / "python"
    if not python.exists():
        sys.exit("The peers are not installed: run `make bench`, which does that.")
    return python


def available(program: str) -> bool:
    """Whether a program is there, after trying to install the Debian package of that name; never an error."""
    if shutil.which(program):
        return True
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"Installing {program} with apt-get ...", flush=True)
    order = ["apt-get", "install", "-y", "--no-install-recommends", program]
    if _run(order) != 0:
        _run(["apt-get", "update"])  # most often the package lists are absent or too old
        _run(order)
    return shutil.which(program) is not None


def _run(order: list[str]) -> int:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(order, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
