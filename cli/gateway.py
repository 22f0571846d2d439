"""HTTP client of the gateway: finds its address and key, and sends requests."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from cli.errors import NoGateway, connection_error, response_error
from cli.responses import Job
from deploy.local.state import Home, assignments

T = TypeVar("T")
Parameters = Mapping[str, str | float | None]
"""Query parameters; those that are None are left out."""

TIMEOUT = httpx2.Timeout(60, connect=10)
NO_PROXY: dict[str, None] = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}
"""Local addresses are reached directly, whatever proxy the environment sets."""


class Gateway:
    """An open connection. Its methods raise RequestRejected or GatewayUnavailable if the request fails."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT, mounts=NO_PROXY
        )

    @classmethod
    def find(cls) -> Self:
        """Connects to the gateway of the environment variables, or of the local stack. Raises NoGateway."""
        return cls(*_find_address(Home.here()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, parameters: Parameters | None = None, *, wait: int = 0) -> httpx2.Response:
        """Sends a GET. The gateway may wait up to `wait` seconds for the work to end."""
        headers = _prefer(wait)
        with self._connection():
            # With an empty dict, httpx2 would remove the query of the path.
            return self._checked(self._client.get(path, params=_query(parameters) or None, headers=headers))

    def read(self, kind: type[T], path: str, parameters: Parameters | None = None, *, wait: int = 0) -> T:
        """Sends a GET and returns the decoded body."""
        return decode(self.get(path, parameters, wait=wait).content, kind)

    def download(self, path: str, parameters: Parameters) -> Iterator[bytes]:
        """Yields the body of a GET in chunks."""
        with self._connection(), self._client.stream("GET", path, params=_query(parameters)) as response:
            if not response.is_success:
                response.read()
            yield from self._checked(response).iter_bytes()

    def post(self, path: str, body: Any, *, key: str, wait: int = 0) -> httpx2.Response:
        """Posts JSON. Requests with the same idempotency `key` are processed once. `wait` as in `get`."""
        headers = {"Idempotency-Key": key, **_prefer(wait)}
        with self._connection():
            return self._checked(self._client.post(path, json=body, headers=headers))

    def order(self, path: str, *, wait: int) -> httpx2.Response:
        """Posts without a body to a route that is idempotent by itself. The gateway may wait up to `wait` seconds."""
        with self._connection():
            headers = {"Prefer": f"wait={wait}"} if wait else {}
            return self._checked(self._client.post(path, headers=headers))

    def send(
        self, method: str, path: str, content: bytes, kind: str, parameters: Parameters | None = None
    ) -> httpx2.Response:
        """Sends content of type `kind` to a route that is idempotent by itself."""
        with self._connection():
            query, headers = _query(parameters), {"Content-Type": kind}
            return self._checked(self._client.request(method, path, params=query, content=content, headers=headers))

    def submit(
        self, dataset: str, chunks: Iterable[bytes], size: int | None, kind: str, parameters: Parameters, *, key: str
    ) -> Job:
        """Uploads a file of content type `kind`. Uploads with the same idempotency `key` become one job."""
        headers = {"Content-Type": kind, "Idempotency-Key": key}
        if size is not None:
            headers["Content-Length"] = str(size)
        with self._connection():
            path = route("datasets", dataset, "imports")
            response = self._client.post(path, params=_query(parameters), headers=headers, content=chunks)
            return decode(self._checked(response).content, Job)

    def events(self, job: str, after: str) -> Iterator[httpx2.ServerSentEvent]:
        """Yields the events after the one with ID `after`, until the job or the connection ends."""
        headers = {"Last-Event-ID": after} if after else {}
        with self._connection(), self._client.sse(route("jobs", job, "events"), headers=headers) as source:
            if not source.response.is_success:
                source.response.read()
            self._checked(source.response)
            # httpx2 also yields the `retry` field that opens the stream, as an event without data.
            yield from (event for event in source if event.data)

    @contextmanager
    def _connection(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise connection_error(self._client.base_url, error) from error

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if response.is_success:
            return response
        raise response_error(response)


def route(*parts: str) -> str:
    """Returns the path of a resource, with each part percent-encoded."""
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def decode(body: bytes, kind: type[T]) -> T:
    """Decodes JSON with numbers as Decimal. Raises NoGateway if the body is not a response of Millrace."""
    try:
        return msgspec.json.Decoder(kind, float_hook=Decimal).decode(body)
    except msgspec.DecodeError as error:
        raise NoGateway(f"Not a response of Millrace ({error}); check MILLRACE_URL.") from error


def _prefer(wait: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait}"} if wait else {}


def _query(parameters: Parameters | None) -> dict[str, str | float]:
    return {name: value for name, value in (parameters or {}).items() if value is not None}


def _find_address(home: Home) -> tuple[str, str]:
    variables = assignments(home.env.read_text()) if home.env.exists() else {}
    local = variables.get("GATEWAY_URL")
    url = os.environ.get("MILLRACE_URL") or local
    key = os.environ.get("MILLRACE_KEY")
    if url is None:
        raise NoGateway("The stack is not running: run `millrace up` (or set MILLRACE_URL and MILLRACE_KEY).")
    if not _is_http(url):
        raise NoGateway(f"MILLRACE_URL must be an HTTP address like http://127.0.0.1:8000, not {url!r}.")
    # The local key is sent to the local gateway only.
    if key is None and url == local and home.api_key.exists():
        key = home.api_key.read_text()
    if not (key := (key or "").strip()).isascii() or not key:
        raise NoGateway(f"No API key for {url}: set MILLRACE_KEY, or run `millrace up` to start a local stack.")
    return url, key


def _is_http(url: str) -> bool:
    try:
        return httpx2.URL(url).scheme in ("http", "https")
    except httpx2.InvalidURL:
        return False
