"""A part of the stack: its command, its environment, and how to start, probe and stop it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

Echo = Callable[[str], None]
"""Prints a line for the user."""


class StackError(Exception):
    """An error that the user can fix; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A long-running process of the stack, or an `external` server in its place, which has no command.

    `grace` is the seconds from the `stop` signal to SIGKILL. `after` names parts that must be ready first.
    """

    name: str
    address: str
    probe: Callable[[], Awaitable[bool]]
    command: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/")
    user: str | None = None
    stop: signal.Signals = signal.SIGTERM
    grace: float = 15.0
    after: tuple[str, ...] = ()
    external: bool = False


def user_prefix(user: str | None) -> list[str]:
    """Returns the command prefix that runs a program as this user."""
    return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


def supervised_command(part: Part) -> list[str]:
    """Returns the part's command, with the kernel stopping it when the supervisor dies.

    `setpriv` changes the user (which clears the death signal), sets the death signal and executes the command, in this
    order. A forked Python process could not guarantee that.
    """
    if not part.command:
        raise StackError("its program is not installed; run `millrace up` to install it.")
    death_signal = f"--pdeathsig={part.stop.name.removeprefix('SIG')}"
    prefix = user_prefix(part.user) or ["setpriv", "--"]
    return [prefix[0], death_signal, *prefix[1:], *part.command]
