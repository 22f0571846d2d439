"""Finds and stops the processes of this stack."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from deploy.local.probes import until
from deploy.local.state import Home

HOME_VARIABLE, PART_VARIABLE = "MILLRACE_HOME", "MILLRACE_PART"
GRACE = 15.0


def mark(home: Home, name: str) -> dict[str, str]:
    """Returns the environment variables that mark a process as this part of this stack."""
    return {HOME_VARIABLE: str(home.folder), PART_VARIABLE: name}


def running_pid(home: Home, name: str) -> int | None:
    """Returns the part's process ID, or None if it does not run.

    Process IDs are reused, so the PID file alone proves nothing. The process must also carry the mark in its
    environment, which no other process has and which survives a crash of the supervisor.
    """
    try:
        pid = int(home.pid(name).read_text())
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    variables = {f"{key}={value}".encode() for key, value in mark(home, name).items()}
    return pid if variables <= set(environment) else None


def uptime(pid: int) -> float | None:
    """Returns the seconds since the process started."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return None
    return since_boot - int(after_name[19]) / os.sysconf("SC_CLK_TCK")


async def wait_gone(home: Home, name: str, seconds: float) -> bool:
    """Waits until the part has ended; returns False if it does not within `seconds`."""

    async def gone() -> bool:
        return running_pid(home, name) is None

    return await until(gone, seconds)


async def stop_orphan(home: Home, name: str, stop: signal.Signals) -> None:
    """Stops a part that outlived its supervisor."""
    if (pid := running_pid(home, name)) is not None:
        send_signal(pid, stop)
        if not await wait_gone(home, name, GRACE):
            send_signal(pid, signal.SIGKILL)
            await wait_gone(home, name, GRACE)
        kill_group(pid)
    home.pid(name).unlink(missing_ok=True)


def send_signal(pid: int, number: signal.Signals) -> None:
    """Sends a signal; does nothing if the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """Kills the part's process group, so that no child outlives the part and holds its port."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
