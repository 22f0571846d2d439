"""Outbound addresses: no declared URL reaches a private network, however it is written or resolved."""

import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import httpx2
import pytest

from shared.outgoing.addresses import DENIED, ForbiddenHost, is_public, resolve_allowed, resolve_dns
from shared.outgoing.http_client import GuardedTransport

NAMES: dict[str, list[str]] = {
    "public.example": ["93.184.215.14"],
    "both.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "93.184.215.14"],
    "xn--bcher-kva.example": ["93.184.215.14"],
    "half.example": ["93.184.215.14", "10.0.0.7"],
    "half-six.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "fd00::7"],
    "loopback.example": ["127.0.0.1"],
    "six.example": ["::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "mapped.example": ["::ffff:169.254.169.254"],
    "translated.example": ["64:ff9b::a9fe:a9fe"],
    "scoped.example": ["fe80::1%2"],
    "strange.example": ["not an address"],
    "empty.example": [],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "intranet": ["192.168.1.1"],
    "postgres": ["172.18.0.2"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "1.2.3.4.example": ["1.2.3.4"],
}


class Recorder(httpx2.AsyncBaseTransport):
    """In the place of connections: says where each would have gone."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.refuses: set[str] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host in self.refuses:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, request=request)


async def resolve(host: str, port: int) -> list[str]:
    """Names as above; addresses, in any notation, as this machine reads them."""
    if host in NAMES:
        return NAMES[host]
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(info[4][0]) for info in infos]


async def visit(url: str, *, allow: str = "", recorder: Recorder | None = None) -> Recorder:
    """What was connected to."""
    recorder = recorder or Recorder()
    guarded = GuardedTransport(recorder, frozenset(allow.split(",")), resolve)
    async with httpx2.AsyncClient(transport=guarded, trust_env=False) as client:
        await client.get(url)
    return recorder


FORBIDDEN = [
    line
    for line in Path(__file__).with_name("forbidden_urls.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def test_there_are_enough_of_them() -> None:
    assert len(set(FORBIDDEN)) >= 120


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_nothing_is_connected_to(url: str) -> None:
    recorder = Recorder()
    with pytest.raises((ForbiddenHost, httpx2.UnsupportedProtocol, httpx2.InvalidURL)):
        await visit(url, recorder=recorder)
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("url", "address", "host"),
    [
        ("https://public.example/", "93.184.215.14", "public.example"),
        ("https://public.example:443/", "93.184.215.14", "public.example"),
        ("https://PUBLIC.example/path?q=1", "93.184.215.14", "public.example"),
        ("https://bücher.example/", "93.184.215.14", "xn--bcher-kva.example"),
        ("https://both.example/", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "both.example"),
        ("https://1.2.3.4.example/", "1.2.3.4", "1.2.3.4.example"),
        ("https://8.8.8.8/", "8.8.8.8", "8.8.8.8"),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111", "2606:4700:4700::1111"),
    ],
)
async def test_a_public_host_is_connected_to_by_its_address_and_in_its_name(url: str, address: str, host: str) -> None:
    (request,) = (await visit(url)).requests
    assert request.url.host == address
    assert request.headers["Host"].strip("[]") == host
    assert request.extensions["sni_hostname"] == host
    assert request.url.raw_path == httpx2.URL(url).raw_path


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1:8100", "http://127.0.0.1:8100/"),
        ("a.example:1,127.0.0.1:8100", "https://127.0.0.1:8100/"),
        ("postgres:443", "https://postgres/"),
        ("postgres:80", "http://postgres/"),
        ("[::1]:8100", "http://[::1]:8100/"),
    ],
)
async def test_what_is_allowed_may_be_anywhere(allow: str, url: str) -> None:
    assert len((await visit(url, allow=allow)).requests) == 1


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1:8100", "http://127.0.0.1:8101/"),
        ("127.0.0.1:8100", "http://127.0.0.1/"),
        ("127.0.0.1:8100", "http://localhost:8100/"),
        ("127.0.0.1:8100", "http://127.1:8100/"),
        ("127.0.0.1:8100", "http://2130706433:8100/"),
        ("127.0.0.1", "http://127.0.0.1/"),
        ("postgres", "https://postgres/"),
        ("crm.internal:443", "https://evil.crm.internal/"),
        ("internal:443", "https://postgres.internal/"),
        ("", "http://127.0.0.1/"),
    ],
)
async def test_nothing_else_is_allowed_by_it(allow: str, url: str) -> None:
    recorder = Recorder()
    with pytest.raises((ForbiddenHost, OSError)):
        await visit(url, allow=allow, recorder=recorder)
    assert recorder.requests == []


async def test_a_name_that_resolves_differently_a_moment_later_is_resolved_once() -> None:
    hosts: list[str] = []

    async def rebinding(host: str, _port: int) -> list[str]:
        hosts.append(host)
        return ["93.184.215.14"] if len(hosts) == 1 else ["127.0.0.1"]

    recorder = Recorder()
    async with httpx2.AsyncClient(
        transport=GuardedTransport(recorder, frozenset(), rebinding), trust_env=False
    ) as client:
        await client.get("https://rebind.example/")
        assert [request.url.host for request in recorder.requests] == ["93.184.215.14"]
        assert hosts == ["rebind.example"]
        with pytest.raises(ForbiddenHost, match=r"127\.0\.0\.1"):  # and every request resolves again
            await client.get("https://rebind.example/")
    assert len(recorder.requests) == 1


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    recorder = Recorder()
    recorder.refuses = {"2606:2800:21f:cb07:6820:80da:af6b:8b2c"}
    await visit("https://both.example/", recorder=recorder)
    assert [request.url.host for request in recorder.requests] == NAMES["both.example"]
    recorder.refuses = set(NAMES["both.example"])
    with pytest.raises(httpx2.ConnectError):
        await visit("https://both.example/", recorder=recorder)


async def test_a_name_that_cannot_be_resolved_gets_no_request() -> None:
    with pytest.raises(OSError, match="no address"):
        await visit("https://empty.example/")
    with pytest.raises(socket.gaierror):
        await visit("https://nobody.example/")
    with pytest.raises(ForbiddenHost, match="not a valid host name"):
        await resolve_allowed("https", "a" * 64 + ".example", None, frozenset(), resolve_dns)


async def test_this_machine_resolves_its_own_name() -> None:
    assert "127.0.0.1" in await resolve_dns("localhost", 80)
    with pytest.raises(ForbiddenHost):
        await resolve_allowed("https", "localhost", None, frozenset(), resolve_dns)


@pytest.mark.parametrize("network", DENIED, ids=str)
def test_both_ends_of_a_denied_network_are_no_public_addresses(network: IPv4Network | IPv6Network) -> None:
    first, last = str(network[0]), str(network[-1])
    assert not is_public(first)
    assert not is_public(last)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "172.32.0.1", "192.167.255.255", "223.255.255.255"]
)
def test_neighbours_of_denied_networks_are_public(address: str) -> None:
    assert is_public(address)
