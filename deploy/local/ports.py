"""Chooses free ports on the loopback interface, and reserves them."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from deploy.local.addresses import HOST

GATEWAY = 8000
# Below the kernel's range for outgoing connections, which could take a port between two starts.
PRIVATE_FROM, PRIVATE_COUNT = 20_000, 12_000

claims: list[int] = []
"""File descriptors: a process that inherits them holds the claimed ports for as long as it lives."""


def claim(port: int) -> bool:
    """Reserves the port for this process; returns False if it is not free.

    Two stacks that start at the same time would both find it free, because no part listens yet. So each binds a socket
    name in the kernel's abstract namespace, which exists until the last process that holds it ends.
    """
    if not is_free(port):
        return False
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0millrace-port-{port}")
    except OSError:
        reservation.close()
        return False
    claims.append(reservation.detach())
    return True


def is_free(port: int) -> bool:
    """Returns whether no process listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(name: str, identity: str, taken: Iterable[int]) -> int:
    """Reserves and returns a port: from 8000 for the gateway, otherwise from a range that depends on the identity."""
    start = int(identity, 16) % PRIVATE_COUNT
    private = (PRIVATE_FROM + (start + step) % PRIVATE_COUNT for step in range(PRIVATE_COUNT))
    candidates = range(GATEWAY, 65_536) if name == "gateway" else private
    used = set(taken)
    return next(port for port in candidates if port not in used and claim(port))
