"""Programs of the peers: Python packages in `.bench-venv`, and Debian packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.state import REPOSITORY

VENV = REPOSITORY / ".bench-venv"


def peer_python() -> Path:
    """Returns the interpreter with the peers' packages."""
    python = VENV / "bin" / "python"
    if not python.exists():
        sys.exit("The peers are not installed: run `make bench`, which installs them.")
    return python


def available(program: str) -> bool:
    """Returns whether a program is installed, after trying to install its Debian package."""
    if shutil.which(program):
        return True
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"Installing {program} with apt-get ...", flush=True)
    arguments = ["apt-get", "install", "-y", "--no-install-recommends", program]
    if _run(arguments) != 0:
        _run(["apt-get", "update"])  # usually the package lists are missing or outdated
        _run(arguments)
    return shutil.which(program) is not None


def _run(arguments: list[str]) -> int:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(arguments, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
