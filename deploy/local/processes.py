"""Which running process is a part of this stack, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from deploy.local.state import Home

MARK_HOME, MARK_PART = "MILLRACE_HOME", "MILLRACE_PART"
GRACE = 15.0


def mark(home: Home, name: str) -> dict[str, str]:
    return {MARK_HOME: str(home.folder), MARK_PART: name}


def running(home: Home, name: str) -> int | None:
    """The part's process id, if the process with that id is still ours.

    Ids are used again, so the id alone proves nothing. What proves it is the mark in the environment that we start
    every part with: no stranger carries it, and it outlives a crash of everything that could have kept a list.
    """
    try:
        pid = int(home.pid(name).read_text())
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    ours = {f"{key}={value}".encode() for key, value in mark(home, name).items()}
    return pid if ours <= set(environment) else None


def uptime(pid: int) -> float | None:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return None
    return since_boot - int(after_name[19]) / os.sysconf("SC_CLK_TCK")


async def gone(home: Home, name: str, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while running(home, name) is not None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def clear(home: Home, name: str, stop: signal.Signals) -> None:
    """End what a supervisor that was killed has left behind."""
    if (pid := running(home, name)) is not None:
        send(pid, stop)
        if not await gone(home, name, GRACE):
            send(pid, signal.SIGKILL)
            await gone(home, name, GRACE)
        reap_group(pid)
    home.pid(name).unlink(missing_ok=True)


def send(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def reap_group(pid: int) -> None:
    """Every part leads a process group: what it started must not outlive it and hold its port."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
