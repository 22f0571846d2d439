"""Requests to the outside world: guarded, bounded, and without a memory."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx2

from shared.bus.failures import Later, Permanent
from shared.contracts.parts import Problem
from shared.outgoing.addresses import Forbidden, Resolve, by_dns, permitted

AGENT = "Millrace"
CONNECT_SECONDS = 10
SHOWN = 200
"""Characters of what a source answered that a problem tells."""
BUSY = frozenset((408, 425, 429))


class NotThere(Permanent):
    """It answered 404."""


class Answer(NamedTuple):
    """What came back: all of it, in memory."""

    body: bytes
    encoding: str
    links: dict[str, str]


class Outgoing:
    """The way out. `allow` lists hosts with ports, like `crm.internal:443`, that need not be public."""

    def __init__(self, allow: str, environment: Mapping[str, str], resolve: Resolve = by_dns) -> None:
        self.environment = environment
        """Where sources are (`SOURCE_…`), and their secrets (`SECRET_…` or `SECRETS_DIR`)."""
        self._allow = frozenset(place.strip().lower() for place in allow.split(","))
        self._resolve = resolve
        self._context = httpx2.create_ssl_context()
        self._turns: dict[str, float] = {}

    @asynccontextmanager
    async def visit(self) -> AsyncIterator["Visit"]:
        """For the pages of one source: its connections are its own, so that none is trusted for another host."""
        connections = httpx2.AsyncHTTPTransport(verify=self._context, trust_env=False)
        guarded = Guarded(connections, self._allow, self._resolve)
        async with httpx2.AsyncClient(transport=guarded, trust_env=False, follow_redirects=False) as client:
            yield Visit(client, self._turns)


class Visit:
    """Requests to one source."""

    def __init__(self, client: httpx2.AsyncClient, turns: dict[str, float]) -> None:
        self._client = client
        self._turns = turns

    async def wait(self, host: str, per_second: float) -> None:
        """Until it is our turn: this process asks the host so often and not more."""
        now = time.monotonic()
        turn = max(now, self._turns.get(host, now))
        self._turns[host] = turn + 1 / per_second
        await asyncio.sleep(turn - now)

    async def get(self, request: httpx2.Request, *, seconds: float, limit: int, secrets: tuple[str, ...]) -> Answer:
        """The answer, of `limit` bytes at most. Raises Later or Permanent, with problems in which no secret stands."""
        shown = place(request.url)
        request.headers.setdefault("User-Agent", AGENT)
        request.headers["Accept-Encoding"] = "identity"  # or a small answer could become a large one here
        request.extensions = {"timeout": {"connect": CONNECT_SECONDS}}
        try:
            async with asyncio.timeout(seconds):
                return await self._get(request, limit, secrets)
        except Forbidden as error:
            hint = "If it is yours, let SOURCE_ALLOW name it with its port."
            problem = Problem(code="source_forbidden", detail=f"{shown} must not be asked: {error}.", hint=hint)
            raise Permanent(problem) from None
        except TimeoutError:
            problem = Problem(code="source_unavailable", detail=f"{shown} did not answer within {seconds:g} seconds.")
            raise Later(None, problem) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            what = str(error) or type(error).__name__
            problem = Problem(code="source_unavailable", detail=_hidden(f"{shown} can't be reached: {what}.", secrets))
            raise Later(None, problem) from None

    async def _get(self, request: httpx2.Request, limit: int, secrets: tuple[str, ...]) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            if response.is_success:
                links = {name: link["url"] for name, link in response.links.items() if name and "url" in link}
                return Answer(await _body(response, limit), response.charset_encoding or "utf-8", links)
            raise await _refusal(response, secrets)
        finally:
            await response.aclose()


class Guarded(httpx2.AsyncBaseTransport):
    """Connects to an address that was checked, in the name of the host that was asked for."""

    def __init__(self, connections: httpx2.AsyncBaseTransport, allow: frozenset[str], resolve: Resolve) -> None:
        self._connections = connections
        self._allow = allow
        self._resolve = resolve

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Tries the host's addresses in turn. Raises Forbidden."""
        url = request.url
        if url.userinfo:
            raise Forbidden("a URL must not carry a user name or a password")
        host = url.raw_host.decode("ascii")
        addresses = await permitted(url.scheme, host, url.port, self._allow, self._resolve)
        for number, address in enumerate(addresses, 1):
            # The header `Host` stands already; the certificate is checked against the name that TLS is told.
            there = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._connections.handle_async_request(there)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise AssertionError("a host that is permitted has addresses")

    async def aclose(self) -> None:
        """All connections."""
        await self._connections.aclose()


async def _body(response: httpx2.Response, limit: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        detail = f"{_shown(response)} answered compressed, though asked not to."
        raise Permanent(Problem(code="source_unreadable", detail=detail))
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > limit:
            detail = f"{_shown(response)} answered with more than {limit} bytes."
            hint = "Ask for smaller pages, or allow larger ones with max_bytes."
            raise Permanent(Problem(code="source_too_large", detail=detail, hint=hint))
    return bytes(body)


async def _refusal(response: httpx2.Response, secrets: tuple[str, ...]) -> Later | Permanent:
    """What an answer means that is none."""
    status = response.status_code
    if response.has_redirect_location:
        detail = f"{_shown(response)} redirects to {place(httpx2.URL(response.headers['Location']))}."
        hint = "Redirects are not followed: declare the URL that is meant."
        return Permanent(Problem(code="source_redirects", detail=_hidden(detail, secrets), hint=hint))
    said = (await _start(response)).decode("utf-8", "replace").strip()[:SHOWN]
    detail = _hidden(f"{_shown(response)} answered {status}: {said or 'nothing'}", secrets)
    if status in BUSY or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return Later(_retry_after(response), Problem(code="source_unavailable", detail=detail))
    hint = "Look at the URL, the parameters and the secret of the source."
    kind = NotThere if status == httpx2.codes.NOT_FOUND else Permanent
    return kind(Problem(code="source_refused", detail=detail, hint=hint))


async def _start(response: httpx2.Response) -> bytes:
    async for piece in response.aiter_raw(4 * SHOWN):
        return piece
    return b""


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, from a number or a date."""
    told = response.headers.get("Retry-After", "").strip()
    if told.isdecimal():
        return float(told)
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


def place(url: httpx2.URL) -> str:
    """A URL without its query, in which secrets may stand."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _shown(response: httpx2.Response) -> str:
    return place(response.request.url)


def _hidden(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
