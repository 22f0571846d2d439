from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.failure import StackFailure


@dataclass(frozen=True, kw_only=True)
class Part:
    """One long-running process of the stack, or the same thing running elsewhere."""

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
    elsewhere: bool = False


def as_user(user: str | None) -> list[str]:
    """The command prefix under which a program runs as that user."""
    return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


def tethered(part: Part) -> list[str]:
    """The part's command, ended by the kernel if the supervisor is killed.

    `setpriv` drops the user first (which clears the death signal), then sets the signal, then becomes the command:
    the three in an order, and without a thread in between, that a forked Python could not promise.
    """
    if not part.command:
        raise StackFailure("its program is not installed; `millrace up` tells how to get it.")
    death = f"--pdeathsig={part.stop.name.removeprefix('SIG')}"
    prefix = as_user(part.user) or ["setpriv", "--"]
    return [prefix[0], death, *prefix[1:], *part.command]
