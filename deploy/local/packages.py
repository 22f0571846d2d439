"""Installs Postgres and RabbitMQ from the distribution's packages without starting the distribution's servers."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local import postgres, rabbitmq
from deploy.local.part import Echo, StackError
from deploy.local.state import Home

PACKAGES = {"postgres": "postgresql", "rabbitmq": "rabbitmq-server"}
VARIABLES = {"postgres": "DATABASE_URL", "rabbitmq": "BROKER_URL"}
DENY_STARTS = Path("/usr/sbin/policy-rc.d")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/millrace.conf")


@contextmanager
def installing() -> Iterator[None]:
    """Allows one installation at a time on this machine; a second one waits."""
    folder = os.open(DENY_STARTS.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def missing(home: Home, servers: Iterable[str]) -> list[str]:
    """Returns those servers whose programs are not installed."""
    programs = {"postgres": postgres.find_programs(home), "rabbitmq": rabbitmq.find_program()}
    return [server for server in servers if server in programs and programs[server] is None]


def install(servers: list[str], echo: Echo) -> None:
    """Installs the servers with apt-get. Raises StackError if that is not possible."""
    packages = [PACKAGES[server] for server in servers]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        variables = " and ".join(VARIABLES[server] for server in servers)
        raise StackError(
            f"Not installed on this machine: {', '.join(servers)}. Install with `sudo apt-get install "
            f"{' '.join(packages)}` (or your system's package manager), or set {variables} to use external servers."
        )
    echo(f"Installing {' and '.join(packages)} with apt-get; the system's own servers are not started ...")
    with ExitStack() as files:
        files.enter_context(_temporary_file(DENY_STARTS, "#!/bin/sh\nexit 101\n", mode=0o755))
        files.enter_context(_temporary_file(NO_CLUSTER, "create_main_cluster = false\n", mode=0o644))
        arguments = ["install", "-y", "--no-install-recommends", *packages]
        if _apt_get(arguments).returncode != 0:
            # Usually the package lists are missing or outdated.
            _apt_get(["update"])
            done = _apt_get(arguments)
            if done.returncode != 0:
                tail = "\n".join(done.stdout.splitlines()[-15:])
                raise StackError(f"`apt-get {' '.join(arguments)}` failed:\n{tail}")
    if "rabbitmq" in servers and shutil.which("systemctl"):
        # Otherwise the package starts its server at the next boot.
        subprocess.run(["systemctl", "disable", "--quiet", "rabbitmq-server"], capture_output=True, check=False)


def _apt_get(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def _temporary_file(path: Path, text: str, *, mode: int) -> Iterator[None]:
    """Creates a file for the duration of the block; an existing file is left unchanged."""
    if path.exists():
        yield
        return
    created = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        for folder in created:
            if not any(folder.iterdir()):
                folder.rmdir()
