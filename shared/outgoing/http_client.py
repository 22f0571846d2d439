"""HTTP client for sources and dictionaries: checks addresses, limits responses, and keeps no cookies."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx2

from shared.bus.failures import PermanentFailure, TransientFailure
from shared.contracts.parts import Problem
from shared.outgoing.addresses import ForbiddenHost, Resolve, resolve_allowed, resolve_dns

AGENT = "Millrace"
CONNECT_SECONDS = 10
LONGEST_EXCERPT = 200
"""Characters of an error response that a problem quotes."""
BUSY = frozenset((408, 425, 429))


class NotFound(PermanentFailure):
    """The response has status 404."""


class OutboundResponse(NamedTuple):
    """A successful response with its whole body. `links` are the URLs of the header `Link` by relation."""

    body: bytes
    encoding: str
    links: dict[str, str]


class OutboundClient:
    """HTTP client of a process. `allow` lists hosts with ports, like `crm.internal:443`, that need not be public."""

    def __init__(self, allow: str, environment: Mapping[str, str], resolve: Resolve = resolve_dns) -> None:
        self.environment = environment
        """URLs of sources (`SOURCE_…`), and their secrets (`SECRET_…` or `SECRETS_DIR`)."""
        self._allow = frozenset(host.strip().lower() for host in allow.split(","))
        self._resolve = resolve
        self._context = httpx2.create_ssl_context()
        self._next_turns: dict[str, float] = {}

    @asynccontextmanager
    async def session(self) -> AsyncIterator["OutboundSession"]:
        """Opens a session for one source. Sessions share no connections, so an address is trusted for one host only."""
        transport = httpx2.AsyncHTTPTransport(verify=self._context, trust_env=False)
        guarded = GuardedTransport(transport, self._allow, self._resolve)
        async with httpx2.AsyncClient(transport=guarded, trust_env=False, follow_redirects=False) as client:
            yield OutboundSession(client, self._next_turns)


class OutboundSession:
    """A session of requests to one source."""

    def __init__(self, client: httpx2.AsyncClient, next_turns: dict[str, float]) -> None:
        self._client = client
        self._next_turns = next_turns

    async def wait_for_turn(self, host: str, per_second: float) -> None:
        """Waits so that this process sends at most `per_second` requests per second to the host."""
        now = time.monotonic()
        turn = max(now, self._next_turns.get(host, now))
        self._next_turns[host] = turn + 1 / per_second
        await asyncio.sleep(turn - now)

    async def send(
        self, request: httpx2.Request, *, seconds: float, limit: int, secrets: tuple[str, ...]
    ) -> OutboundResponse:
        """Sends the request and returns the response.

        Raises TransientFailure or PermanentFailure, with `secrets` masked. A body has at most `limit` bytes.
        """
        url = to_display_url(request.url)
        request.headers.setdefault("User-Agent", AGENT)
        request.headers["Accept-Encoding"] = "identity"  # prevents decompression bombs
        request.extensions = {"timeout": {"connect": CONNECT_SECONDS}}
        try:
            async with asyncio.timeout(seconds):
                return await self._send(request, limit, secrets)
        except ForbiddenHost as error:
            hint = "If you trust this host, add it with its port to SOURCE_ALLOW."
            problem = Problem(code="source_forbidden", detail=f"{url} must not be requested: {error}.", hint=hint)
            raise PermanentFailure(problem) from None
        except TimeoutError:
            problem = Problem(code="source_unavailable", detail=f"{url} did not answer within {seconds:g} seconds.")
            raise TransientFailure(None, problem) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            problem = Problem(code="source_unavailable", detail=_mask(f"{url} can't be reached: {reason}.", secrets))
            raise TransientFailure(None, problem) from None

    async def _send(self, request: httpx2.Request, limit: int, secrets: tuple[str, ...]) -> OutboundResponse:
        response = await self._client.send(request, stream=True)
        try:
            if response.is_success:
                links = {name: link["url"] for name, link in response.links.items() if name and "url" in link}
                return OutboundResponse(await _read_body(response, limit), response.charset_encoding or "utf-8", links)
            raise await _to_failure(response, secrets)
        finally:
            await response.aclose()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Transport that connects only to checked addresses, with the TLS name and `Host` header of the requested host."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, allow: frozenset[str], resolve: Resolve) -> None:
        self._transport = transport
        self._allow = allow
        self._resolve = resolve

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Tries the host's addresses in turn. Raises ForbiddenHost."""
        url = request.url
        if url.userinfo:
            raise ForbiddenHost("a URL must not contain a user name or a password")
        host = url.raw_host.decode("ascii")
        addresses = await resolve_allowed(url.scheme, host, url.port, self._allow, self._resolve)
        for number, address in enumerate(addresses, 1):
            # The header `Host` is set already, and TLS checks the certificate against `sni_hostname`.
            addressed = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._transport.handle_async_request(addressed)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise AssertionError("resolve_allowed returns at least one address")

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


async def _read_body(response: httpx2.Response, limit: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        detail = f"{_display_url(response)} sent a compressed response, although the request forbids it."
        raise PermanentFailure(Problem(code="source_unreadable", detail=detail))
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > limit:
            detail = f"{_display_url(response)} answered with more than {limit} bytes."
            hint = "Request smaller pages, or allow larger ones with max_bytes."
            raise PermanentFailure(Problem(code="source_too_large", detail=detail, hint=hint))
    return bytes(body)


async def _to_failure(response: httpx2.Response, secrets: tuple[str, ...]) -> TransientFailure | PermanentFailure:
    """Converts an error response to a failure."""
    status = response.status_code
    if response.has_redirect_location:
        detail = f"{_display_url(response)} redirects to {to_display_url(httpx2.URL(response.headers['Location']))}."
        hint = "Redirects are not followed: declare the final URL."
        return PermanentFailure(Problem(code="source_redirects", detail=_mask(detail, secrets), hint=hint))
    excerpt = (await _read_start(response)).decode("utf-8", "replace").strip()[:LONGEST_EXCERPT]
    detail = _mask(f"{_display_url(response)} answered {status}: {excerpt or 'nothing'}", secrets)
    if status in BUSY or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return TransientFailure(_retry_after(response), Problem(code="source_unavailable", detail=detail))
    hint = "Check the URL, the parameters and the secret of the source."
    failure_type = NotFound if status == httpx2.codes.NOT_FOUND else PermanentFailure
    return failure_type(Problem(code="source_refused", detail=detail, hint=hint))


async def _read_start(response: httpx2.Response) -> bytes:
    async for piece in response.aiter_raw(4 * LONGEST_EXCERPT):
        return piece
    return b""


def _retry_after(response: httpx2.Response) -> float | None:
    """Returns the header `Retry-After`, a number or a date, in seconds."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


def to_display_url(url: httpx2.URL) -> str:
    """Returns the URL without user name, query and fragment, which may contain secrets."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _display_url(response: httpx2.Response) -> str:
    return to_display_url(response.request.url)


def _mask(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
