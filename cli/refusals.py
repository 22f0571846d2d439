"""Why the gateway did not do what it was asked, in words for people. Click shows them and ends with exit code 1."""

import click
import httpx2
import msgspec

from cli.show import printable


class NoGateway(click.ClickException):
    """It is not known where the gateway is, or with which key to ask it."""


class Refused(click.ClickException):
    """The gateway has understood the request, and won't do it."""


class Away(click.ClickException):
    """The gateway can't be reached or can't answer at this moment. The same request may succeed later."""


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    detail: str = ""
    line: int = 0
    column: str = ""
    pointer: str = ""


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    detail: str
    errors: list[_Error] = []
    hint: str = ""
    request_id: str = ""


def refusal(response: httpx2.Response) -> Refused | Away:
    """Of an answer whose body has been read."""
    text = _told(response)
    return Away(text) if response.is_server_error else Refused(text)


def unreachable(url: httpx2.URL, error: httpx2.TransportError) -> Away:
    """The connection failed, or broke before the answer."""
    reason = str(error) or type(error).__name__
    return Away(f"The gateway at {url} does not answer ({reason}): run `millrace up`, or check MILLRACE_URL.")


def _told(response: httpx2.Response) -> str:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        return f"{response.url} answered {status}, but not as Millrace does: check MILLRACE_URL."
    lines = [problem.detail, *(f"  {_place(error)}{error.detail}" for error in problem.errors)]
    if problem.hint:
        lines.append(f"Hint: {problem.hint}")
    if problem.request_id:
        lines.append(f"request_id: {problem.request_id}")
    return "\n".join(printable(line) for line in lines)


def _place(error: _Error) -> str:
    where = [f"line {error.line}"] if error.line else []
    if name := error.column or error.pointer:
        where.append(f"column {name}" if error.column else name)
    return f"{', '.join(where)}: " if where else ""
