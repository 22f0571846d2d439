"""Which hosts outside may be asked. Everything else is refused: an address that nobody thought of, too.

A declared URL must not reach what only we can reach: this machine, its network, a cloud's metadata service. So a host
is resolved once, every one of its addresses is checked, and one of those is connected to, whatever the name means a
moment later.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses. Raises OSError."""

PORTS = {"https": 443, "http": 80}
RESOLVE_SECONDS = 10
SHOWN = 100
LIKE_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")
"""The last part of a host that a resolver may read as an IPv4 address, however it is written."""

# Python's own lists differ from version to version, and none of them knows what an address is translated to on its way.
DENIED = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32"),
        *("2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
]


class Forbidden(Exception):
    """The host must not be asked; says why."""


async def by_dns(host: str, port: int) -> list[str]:
    """As the machine resolves names."""
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def permitted(scheme: str, host: str, port: int | None, allow: frozenset[str], resolve: Resolve) -> list[str]:
    """The addresses of the host, of which any may be connected to. Raises Forbidden, and OSError if it has none.

    `allow` names hosts with their ports, like `crm.internal:443`, that may be asked wherever they are, and without TLS.
    """
    if scheme not in PORTS:
        raise Forbidden(f"{scheme} is neither https nor http")
    port = port or PORTS[scheme]
    trusted = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") in allow
    if not trusted and (scheme, port) != ("https", PORTS["https"]):
        raise Forbidden(f"only https on port 443 is open; {scheme} to {host}:{port} must be allowed by SOURCE_ALLOW")
    if not trusted and LIKE_A_NUMBER.search(host) and not _is_written_plainly(host):
        raise Forbidden(f"{host} is an unusual way to write an address")
    try:
        addresses = await resolve(host, port)
    except UnicodeError:
        raise Forbidden(f"{host[:SHOWN]} is no name of a host") from None
    if not addresses:
        raise OSError(f"{host} has no address")
    if not trusted:
        for address in addresses:
            if not is_public(address):
                raise Forbidden(f"{host} is at {address}, which is not a public address")
    return addresses


def is_public(address: str) -> bool:
    """Whether it is one of the whole internet's, and nothing else by any translation."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in DENIED)


def _is_written_plainly(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
