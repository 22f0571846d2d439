"""Protection against server-side request forgery: which hosts may be requested.

A declared URL must not reach this machine, its network or a cloud's metadata service. So a host is resolved once, all
of its addresses are checked, and the connection goes to one of them, even if the name resolves differently later.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Resolves host and port to addresses. Raises OSError."""

PORTS = {"https": 443, "http": 80}
RESOLVE_SECONDS = 10
LONGEST_EXCERPT = 100
NUMERIC_HOST = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")
"""A host whose last part is a number: resolvers read such hosts as IPv4 addresses in various notations."""

# Python's own lists differ between versions, and lack the prefixes that translate IPv6 to IPv4 addresses.
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


class ForbiddenHost(Exception):
    """The host must not be requested. The message is the reason."""


async def resolve_dns(host: str, port: int) -> list[str]:
    """Resolves with the system's resolver. Raises OSError."""
    async with asyncio.timeout(RESOLVE_SECONDS):
        results = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in results]


async def resolve_allowed(
    scheme: str, host: str, port: int | None, allow: frozenset[str], resolve: Resolve
) -> list[str]:
    """Returns the addresses of the host, all of them allowed. Raises ForbiddenHost, or OSError if there are none.

    Hosts in `allow`, like `crm.internal:443`, may have any address and may be requested without TLS.
    """
    if scheme not in PORTS:
        raise ForbiddenHost(f"the scheme {scheme} is not supported")
    port = port or PORTS[scheme]
    trusted = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") in allow
    if not trusted and (scheme, port) != ("https", PORTS["https"]):
        raise ForbiddenHost(
            f"only https on port 443 is allowed; {scheme} to {host}:{port} needs an entry in SOURCE_ALLOW"
        )
    if not trusted and NUMERIC_HOST.search(host) and not _is_dotted_quad(host):
        raise ForbiddenHost(f"{host} is an unusual notation of an address")
    try:
        addresses = await resolve(host, port)
    except UnicodeError:
        raise ForbiddenHost(f"{host[:LONGEST_EXCERPT]} is not a valid host name") from None
    if not addresses:
        raise OSError(f"{host} has no address")
    if not trusted:
        for address in addresses:
            if not is_public(address):
                raise ForbiddenHost(f"{host} resolves to {address}, which is not public")
    return addresses


def is_public(address: str) -> bool:
    """Returns whether the address is public on the internet, also after any translation to IPv4."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in DENIED)


def _is_dotted_quad(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
