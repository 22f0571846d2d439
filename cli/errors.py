"""Errors of requests to the gateway. Click prints the message and exits with code 1."""

import click
import httpx2
import msgspec

from cli.tables import printable


class NoGateway(click.ClickException):
    """The gateway's address or API key is missing or wrong."""


class RequestRejected(click.ClickException):
    """The gateway answered with a client error (4xx)."""


class GatewayUnavailable(click.ClickException):
    """The gateway is unreachable or answered with a server error (5xx). A retry may succeed."""


class NotSettled(click.ClickException):
    """The request was accepted, and its end did not come in time."""


class _ErrorItem(msgspec.Struct, frozen=True, kw_only=True):
    detail: str = ""
    line: int = 0
    column: str = ""
    pointer: str = ""


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    detail: str
    errors: list[_ErrorItem] = []
    hint: str = ""
    request_id: str = ""


def response_error(response: httpx2.Response) -> RequestRejected | GatewayUnavailable:
    """Returns the error of a response whose body has been read."""
    text = _message(response)
    return GatewayUnavailable(text) if response.is_server_error else RequestRejected(text)


def connection_error(url: httpx2.URL, error: httpx2.TransportError) -> GatewayUnavailable:
    """Returns the error of a connection that failed or broke before the response."""
    reason = str(error) or type(error).__name__
    return GatewayUnavailable(
        f"The gateway at {url} does not answer ({reason}). Run `millrace up`, or check MILLRACE_URL."
    )


def _message(response: httpx2.Response) -> str:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        return f"{response.url} answered {status}, which is not a Millrace response; check MILLRACE_URL."
    lines = [problem.detail, *(f"  {_location(error)}{error.detail}" for error in problem.errors)]
    if problem.hint:
        lines.append(f"Hint: {problem.hint}")
    if problem.request_id:
        lines.append(f"request_id: {problem.request_id}")
    return "\n".join(printable(line) for line in lines)


def _location(error: _ErrorItem) -> str:
    location = [f"line {error.line}"] if error.line else []
    if name := error.column or error.pointer:
        location.append(f"column {name}" if error.column else name)
    return f"{', '.join(location)}: " if location else ""
