"""The outbound HTTP client over real connections: limits of time and bytes, redirects, kinds of failure."""

import asyncio
import contextlib
import datetime as dt
import gzip
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Mapping
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest

from shared.bus.failures import PermanentFailure, TransientFailure
from shared.contracts.parts import Problem
from shared.outgoing.http_client import LONGEST_EXCERPT, OutboundClient, OutboundResponse
from tests.fake_source import HOST, FakeSource

SECRET = "the-secret"
SECONDS = 20.0
LIMIT = 1 << 20
BOMB = gzip.compress(b"0" * 10**6)


async def get(
    outgoing: OutboundClient,
    url: str,
    *,
    seconds: float = SECONDS,
    limit: int = LIMIT,
    headers: Mapping[str, str] | None = None,
) -> OutboundResponse:
    async with outgoing.session() as session:
        request = httpx2.Request("GET", url, headers=headers)
        return await session.send(request, seconds=seconds, limit=limit, secrets=(SECRET,))


async def permanent(outgoing: OutboundClient, url: str, *, limit: int = LIMIT) -> Problem:
    with pytest.raises(PermanentFailure) as caught:
        await get(outgoing, url, limit=limit)
    assert SECRET not in written(caught.value)
    return caught.value.problem


async def later(outgoing: OutboundClient, url: str, *, seconds: float = SECONDS) -> TransientFailure:
    with pytest.raises(TransientFailure) as caught:
        await get(outgoing, url, seconds=seconds)
    assert SECRET not in written(caught.value)
    return caught.value


def written(error: Exception) -> str:
    """As a log has it."""
    return "".join(traceback.format_exception(error))


async def test_what_is_allowed_answers(fake_source: FakeSource) -> None:
    answer = await get(fake_source.client(), f"{fake_source.url}/items?offset=248")
    assert answer.body.startswith(b'{"items":[{"id":5249')
    assert answer.links == {}
    answer = await get(fake_source.client(), f"{fake_source.url}/items?limit=2")
    assert answer.links == {"next": "/items?offset=2&limit=2"}


async def test_a_host_that_is_not_allowed_gets_no_request(fake_source: FakeSource) -> None:
    for allow in ("", "127.0.0.1", f"localhost:{fake_source.place.rpartition(':')[2]}", "127.0.0.1:80"):
        problem = await permanent(OutboundClient(allow, {}), f"{fake_source.url}/items?key={SECRET}")
        assert (problem.code, SECRET in problem.detail) == ("source_forbidden", False)
        assert "SOURCE_ALLOW" in problem.hint
    assert fake_source.take_requests() == []


@pytest.mark.parametrize("there", ["http://169.254.169.254/latest/meta-data/", "/items", "https://public.example/"])
async def test_a_redirect_is_reported_and_not_followed(fake_source: FakeSource, there: str) -> None:
    fake_source.add_fault(path="/api", redirect=f"{there}?token={SECRET}")
    problem = await permanent(fake_source.client(), f"{fake_source.url}/api/customers")
    assert (problem.code, there in problem.detail) == ("source_redirects", True)
    assert SECRET not in problem.detail
    assert fake_source.take_requests() == ["GET /api/customers"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 300])
async def test_a_refusal_is_final_and_quotes_the_response(fake_source: FakeSource, status: int) -> None:
    fake_source.add_fault(status=status)
    problem = await permanent(fake_source.client(), f"{fake_source.url}/items?key={SECRET}")
    assert problem.code == "source_refused"
    assert problem.detail == f'{fake_source.url}/items answered {status}: {{"error": "injected"}}'


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_busy_or_broken_server_is_retried(fake_source: FakeSource, status: int) -> None:
    fake_source.add_fault(status=status)
    error = await later(fake_source.client(), f"{fake_source.url}/items?key={SECRET}")
    assert error.seconds is None
    assert error.problem.code == "source_unavailable"
    assert error.problem.detail == f'{fake_source.url}/items answered {status}: {{"error": "injected"}}'


async def test_retry_after_sets_the_delay(fake_source: FakeSource) -> None:
    fake_source.add_fault(status=429, retry_after=7, times=1)
    assert (await later(fake_source.client(), f"{fake_source.url}/items")).seconds == 7
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    fake_source.add_fault(status=503, retry_after=format_datetime(moment, usegmt=True), times=1)
    seconds = (await later(fake_source.client(), f"{fake_source.url}/items")).seconds
    assert seconds is not None
    assert 290 < seconds <= 300
    fake_source.add_fault(status=503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT", times=1)
    assert (await later(fake_source.client(), f"{fake_source.url}/items")).seconds == 0
    for nonsense in ("soon", "-5", ""):
        fake_source.add_fault(status=503, retry_after=nonsense, times=1)
        assert (await later(fake_source.client(), f"{fake_source.url}/items")).seconds is None


async def test_a_secret_in_a_response_is_hidden(fake_source: FakeSource) -> None:
    problem = await permanent(fake_source.client(), f"{fake_source.url}/api/customers/{SECRET}")
    assert problem.code == "source_refused"
    assert "There is no ***" in problem.detail
    assert SECRET not in problem.detail


async def test_time_is_limited(fake_source: FakeSource) -> None:
    fake_source.add_fault(delay=60)
    error = await later(fake_source.client(), f"{fake_source.url}/items?key={SECRET}", seconds=0.1)
    assert error.problem.detail == f"{fake_source.url}/items did not answer within 0.1 seconds."


async def test_a_refused_connection_is_retried() -> None:
    error = await later(OutboundClient(f"{HOST}:9", {}), f"http://{HOST}:9/x?key={SECRET}")
    assert error.problem.code == "source_unavailable"
    assert error.problem.detail.startswith(f"http://{HOST}:9/x can't be reached")

    async def lost(_host: str, _port: int) -> list[str]:
        raise OSError("the name server is away")

    error = await later(OutboundClient("", {}, lost), "https://there.example/")
    assert error.problem.detail == "https://there.example/ can't be reached: the name server is away."


async def test_bytes_are_limited_and_what_is_more_is_not_waited_for(fake_source: FakeSource) -> None:
    fake_source.add_fault(oversize=True)
    problem = await permanent(fake_source.client(), f"{fake_source.url}/items", limit=3 << 20)
    assert (problem.code, "3145728 bytes" in problem.detail) == ("source_too_large", True)
    fake_source.clear_faults()
    size = len((await get(fake_source.client(), f"{fake_source.url}/items")).body)
    await get(fake_source.client(), f"{fake_source.url}/items", limit=size)
    await permanent(fake_source.client(), f"{fake_source.url}/items", limit=size - 1)


async def test_what_goes_out_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok", heard) as place:
        outgoing = OutboundClient(place, {})
        async with outgoing.session() as session:
            for _ in range(2):
                request = httpx2.Request("GET", f"http://{place}/x", headers={"X-Ours": "1"})
                assert (await session.send(request, seconds=20, limit=100, secrets=())).body == b"ok"
    assert [line.lower() for line in heard[0].splitlines()[:2]] == ["get /x http/1.1", f"host: {place}"]
    assert "x-ours: 1" in heard[1].lower()
    assert "accept-encoding: identity" in heard[1].lower()
    assert "user-agent: millrace" in heard[1].lower()
    assert "cookie" not in heard[1].lower()


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", TransientFailure, "source_unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + BOMB, PermanentFailure, "source_unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity, br\r\n\r\n?", PermanentFailure, "source_unreadable"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", TransientFailure, "source_unavailable"),
        (b"", TransientFailure, "source_unavailable"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", PermanentFailure, "source_redirects"),
        (b"HTTP/1.1 302 Found\r\n\r\n", PermanentFailure, "source_refused"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 10**6, TransientFailure, "source_unavailable"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6 + b"\r\n\r\n", TransientFailure, "source_unavailable"),
    ],
)  # fmt: skip
async def test_strange_answers(answer: bytes, error: type[TransientFailure | PermanentFailure], code: str) -> None:
    async with answering(answer, []) as place:
        with pytest.raises(error) as caught:
            await get(OutboundClient(place, {}), f"http://{place}/")
    assert isinstance(caught.value, error)
    assert caught.value.problem.code == code
    assert len(caught.value.problem.detail) < LONGEST_EXCERPT + 150


async def test_an_answer_without_content_is_one() -> None:
    async with answering(b"HTTP/1.1 204 No Content\r\n\r\n", []) as place:
        assert (await get(OutboundClient(place, {}), f"http://{place}/")).body == b""


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's, for crm.test, which this process trusts."""
    key, made = tmp_path / "key.pem", tmp_path / "crm.pem"
    order = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=crm.test -addext subjectAltName=DNS:crm.test"
    subprocess.run([*order.split(), "-keyout", key, "-out", made], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context


async def test_the_certificate_is_that_of_the_name_and_not_of_the_address(certificate: ssl.SSLContext) -> None:
    async def here(_host: str, _port: int) -> list[str]:
        return [HOST]

    heard: list[str] = []
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", heard, certificate) as place:
        port = place.rpartition(":")[2]
        outgoing = OutboundClient(f"crm.test:{port},evil.test:{port},{place}", {}, here)
        assert (await get(outgoing, f"https://crm.test:{port}/x")).body == b"ok"
        assert f"host: crm.test:{port}" in heard[0].lower()
        for host in ("evil.test", HOST):
            error = await later(outgoing, f"https://{host}:{port}/x")
            assert "certificate" in error.problem.detail.lower()
    assert len(heard) == 1


@contextlib.asynccontextmanager
async def answering(answer: bytes, heard: list[str], context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that sends the same bytes for every request; its host and port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while "keep-alive":
                heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(answer)
                await writer.drain()
                if b"Content-Length: 2\r\n" not in answer:
                    break
        writer.close()

    server = await asyncio.start_server(talk, HOST, 0, ssl=context)
    async with server:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
