"""The servers' programs from the distribution's packages, without the distribution's own servers."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local import postgres, rabbitmq
from deploy.local.failure import StackFailure
from deploy.local.state import Home

PACKAGES = {"postgres": "postgresql", "rabbitmq": "rabbitmq-server"}
VARIABLES = {"postgres": "DATABASE_URL", "rabbitmq": "BROKER_URL"}
DENY_STARTS = Path("/usr/sbin/policy-rc.d")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/millrace.conf")


@contextmanager
def installing() -> Iterator[None]:
    """One installation on this machine at a time: a second waits, and then finds whole packages."""
    folder = os.open(DENY_STARTS.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def missing(home: Home, servers: Iterable[str]) -> list[str]:
    found = {"postgres": postgres.programs(home), "rabbitmq": rabbitmq.program()}
    return [server for server in servers if server in found and found[server] is None]


def install(servers: list[str], say: Callable[[str], None]) -> None:
    packages = [PACKAGES[server] for server in servers]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        variables = " and ".join(VARIABLES[server] for server in servers)
        raise StackFailure(
            f"Not installed on this machine: {', '.join(servers)}. Install with `sudo apt-get install "
            f"{' '.join(packages)}` (or your system's way), or set {variables} to use servers that run elsewhere."
        )
    say(f"Installing {' and '.join(packages)} with apt-get; the system's own servers will not be started ...")
    with ExitStack() as meanwhile:
        meanwhile.enter_context(_present(DENY_STARTS, "#!/bin/sh\nexit 101\n", mode=0o755))
        meanwhile.enter_context(_present(NO_CLUSTER, "create_main_cluster = false\n", mode=0o644))
        order = ["install", "-y", "--no-install-recommends", *packages]
        if _apt_get(order).returncode != 0:
            # Most often the package lists are absent or too old.
            _apt_get(["update"])
            done = _apt_get(order)
            if done.returncode != 0:
                tail = "\n".join(done.stdout.splitlines()[-15:])
                raise StackFailure(f"`apt-get {' '.join(order)}` failed:\n{tail}")
    if "rabbitmq" in servers and shutil.which("systemctl"):
        # The package starts its server at the next boot otherwise.
        subprocess.run(["systemctl", "disable", "--quiet", "rabbitmq-server"], capture_output=True, check=False)


def _apt_get(order: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *order],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def _present(path: Path, text: str, *, mode: int) -> Iterator[None]:
    """A file that exists only meanwhile; one that was there before is the owner's and stays as it is."""
    if path.exists():
        yield
        return
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()
