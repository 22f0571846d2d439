"""The connection to a gateway: where it is, and its routes as functions."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from cli.answers import Job
from cli.refusals import NoGateway, refusal, unreachable
from deploy.local.state import Home, assignments

T = TypeVar("T")
Parameters = Mapping[str, str | float | None]

TIMEOUT = httpx2.Timeout(60, connect=10)
DIRECT: dict[str, None] = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}
"""Not through the proxy of the environment."""


class Gateway:
    """An open connection. Whatever is not an answer of success is raised as Refused or Away."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT, mounts=DIRECT
        )

    @classmethod
    def find(cls) -> Self:
        """By the environment, else by the state folder of this machine's stack. Raises NoGateway."""
        return cls(*_address(Home.here()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, parameters: Parameters | None = None, *, wait: int = 0) -> httpx2.Response:
        """`wait`: seconds that the gateway may wait for a job to end."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        with self._spoken():
            # httpx2 would take an empty dict to mean that the path's own query goes away.
            return self._good(self._client.get(path, params=given or None, headers=headers))

    def read(self, kind: type[T], path: str, parameters: Parameters | None = None, *, wait: int = 0) -> T:
        """The answer as what it is."""
        return decode(self.get(path, parameters, wait=wait).content, kind)

    def download(self, path: str, parameters: Parameters) -> Iterator[bytes]:
        """The answer piece by piece, however large it is. Raises Away if it breaks off."""
        given = {name: value for name, value in parameters.items() if value is not None}
        with self._spoken(), self._client.stream("GET", path, params=given) as response:
            if not response.is_success:
                response.read()
            yield from self._good(response).iter_bytes()

    def post(self, path: str, body: Any, *, key: str) -> httpx2.Response:
        """Asks for something in JSON; with the same `key` it is done once, however often it is asked for."""
        with self._spoken():
            return self._good(self._client.post(path, json=body, headers={"Idempotency-Key": key}))

    def send(
        self, method: str, path: str, content: bytes, kind: str, parameters: Parameters | None = None
    ) -> httpx2.Response:
        """Content of the type `kind`, to where it does no harm to send it twice."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        with self._spoken():
            headers = {"Content-Type": kind}
            return self._good(self._client.request(method, path, params=given, content=content, headers=headers))

    def submit(
        self, dataset: str, pieces: Iterable[bytes], size: int | None, kind: str, parameters: Parameters, *, key: str
    ) -> Job:
        """A file of content type `kind` is imported; the same `key` asks for the same job, however often it is sent."""
        headers = {"Content-Type": kind, "Idempotency-Key": key}
        if size is not None:
            headers["Content-Length"] = str(size)
        given = {name: value for name, value in parameters.items() if value is not None}
        with self._spoken():
            path = route("datasets", dataset, "imports")
            response = self._client.post(path, params=given, headers=headers, content=pieces)
            return decode(self._good(response).content, Job)

    def events(self, job: str, after: str) -> Iterator[httpx2.ServerSentEvent]:
        """Yields the events after the one with that id as they happen, until the job or the connection ends."""
        headers = {"Last-Event-ID": after} if after else {}
        with self._spoken(), self._client.sse(route("jobs", job, "events"), headers=headers) as source:
            if not source.response.is_success:
                source.response.read()
            self._good(source.response)
            # httpx2 also yields the `retry` field that opens the stream, as an event without data.
            yield from (event for event in source if event.data)

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise unreachable(self._client.base_url, error) from error

    def _good(self, response: httpx2.Response) -> httpx2.Response:
        if response.is_success:
            return response
        raise refusal(response)


def route(*parts: str) -> str:
    """The path under which the gateway knows the thing, whatever characters its name has."""
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def decode(body: bytes, kind: type[T]) -> T:
    """Exact numbers stay exact. Raises NoGateway for an answer that is none of Millrace's."""
    try:
        return msgspec.json.Decoder(kind, float_hook=Decimal).decode(body)
    except msgspec.DecodeError as error:
        message = f"The answer is not one of Millrace's ({error}): check MILLRACE_URL."
        raise NoGateway(message) from error


def _address(home: Home) -> tuple[str, str]:
    ours = assignments(home.env.read_text()) if home.env.exists() else {}
    local = ours.get("GATEWAY_URL")
    url = os.environ.get("MILLRACE_URL") or local
    key = os.environ.get("MILLRACE_KEY")
    if url is None:
        message = "The stack is not running: run `millrace up` (or set MILLRACE_URL and MILLRACE_KEY)."
        raise NoGateway(message)
    if not _is_web(url):
        message = f"MILLRACE_URL must be like http://127.0.0.1:8000, not {url!r}."
        raise NoGateway(message)
    # The local key is nobody's business but the local gateway's.
    if key is None and url == local and home.api_key.exists():
        key = home.api_key.read_text()
    if not (key := (key or "").strip()).isascii() or not key:
        message = f"There is no API key for {url}: set MILLRACE_KEY, or run `millrace up` for a stack of your own."
        raise NoGateway(message)
    return url, key


def _is_web(url: str) -> bool:
    try:
        return httpx2.URL(url).scheme in ("http", "https")
    except httpx2.InvalidURL:
        return False
