"""Ports of our own: on the loopback only, never one that somebody else listens on."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from deploy.local.addresses import HOST

GATEWAY = 8000
# Below the kernel's range for outgoing connections, or one of those could sit on a port of ours at the next start.
PRIVATE_FROM, PRIVATE_COUNT = 20_000, 12_000

claims: list[int] = []
"""File descriptors: a process that inherits them holds the claimed ports for as long as it lives."""


def claim(port: int) -> bool:
    """Whether the port is free, and reserved for this process from now on.

    Nobody listens there before the part has started, so two stacks that start at the same moment would both find it
    free. A name in the kernel's abstract space, gone with the last process that holds it, keeps them apart.
    """
    if not is_free(port):
        return False
    claimed = socket.socket(socket.AF_UNIX)
    try:
        claimed.bind(f"\0millrace-port-{port}")
    except OSError:
        claimed.close()
        return False
    claims.append(claimed.detach())
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(name: str, identity: str, taken: Iterable[int]) -> int:
    start = int(identity, 16) % PRIVATE_COUNT
    private = (PRIVATE_FROM + (start + step) % PRIVATE_COUNT for step in range(PRIVATE_COUNT))
    candidates = range(GATEWAY, 65_536) if name == "gateway" else private
    used = set(taken)
    return next(port for port in candidates if port not in used and claim(port))
