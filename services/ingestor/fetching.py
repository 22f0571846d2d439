"""One page of a source: where it is asked for, with which secret, and what it says."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_plus

import httpx

from services.ingestor import paginators, selecting
from services.ingestor.outgoing import Visit, place
from services.ingestor.paginators import Page, Place
from shared.bus.failures import Later, Permanent
from shared.catalog.source import ApiKey, Bearer, HttpBasic, Source
from shared.catalog.sources import VARIABLE
from shared.contracts.parts import Problem

PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Question(NamedTuple):
    """A request, and the texts that must not be seen in any problem."""

    request: httpx.Request
    secrets: tuple[str, ...]


async def fetch(visit: Visit, source: Source, at: Place, since: str | None, environment: Mapping[str, str]) -> Page:
    """The page at this place. Raises Later and Permanent."""
    question = ask(source, at, since, environment)
    if source.requests_per_second is not None:
        await visit.wait(question.request.url.host, source.requests_per_second)
    answer = await visit.get(
        question.request, seconds=source.timeout_seconds, limit=source.max_bytes, secrets=question.secrets
    )
    try:
        document = selecting.read(answer.body, answer.encoding, source)
    except selecting.Unreadable as error:
        detail = f"What {place(question.request.url)} answered can't be read: {error}."
        raise Later(None, Problem(code="source_unreadable", detail=detail)) from None
    return Page(selecting.rows(document, source), document, answer.links)


def ask(source: Source, at: Place, since: str | None, environment: Mapping[str, str]) -> Question:
    """The request for a page; `since` is what an incremental source has told already. Raises Permanent."""
    base = _base(source, environment)
    headers = dict(source.headers)
    params: dict[str, str | int | float | bool] = {}
    link = paginators.link(source.paginator, at)
    if link is None:
        params |= source.params
        if source.incremental and since is not None:
            params[source.incremental.start_param] = since
        params |= paginators.parameters(source.paginator, at)
    secrets = _authorize(source, environment, headers, params)
    try:
        url = httpx.URL(base)
        if link is not None:
            url = _within(url, url.join(link))
        return Question(httpx.Request("GET", url.copy_merge_params(params), headers=headers), secrets)
    except (httpx.InvalidURL, ValueError):
        raise _wrong("source_forbidden", f"The source {source.name} has a URL that is none.") from None


def _base(source: Source, environment: Mapping[str, str]) -> str:
    variable = VARIABLE.match(source.url)
    if variable is None:
        return source.url
    name = variable[1]
    told = environment.get(name, "")
    if not told:
        hint = f"Set {name} for the ingestor, to a URL like https://crm.example."
        raise _wrong("source_unset", f"The source {source.name} needs {name}, which is not set.", hint)
    return told.rstrip("/") + source.url[variable.end() :]


def _within(base: httpx.URL, link: httpx.URL) -> httpx.URL:
    """The link, if it stays where the source is: another host must not be told its secret."""
    if (link.scheme, link.raw_host, link.port) != (base.scheme, base.raw_host, base.port):
        raise _wrong("source_forbidden", f"{place(base)} leads on to {place(link)}, which is another host.")
    return link


def _authorize(
    source: Source,
    environment: Mapping[str, str],
    headers: dict[str, str],
    params: dict[str, str | int | float | bool],
) -> tuple[str, ...]:
    """Puts the secret where it belongs; returns it in every way in which it may be written."""
    if source.auth is None:
        return ()
    told = secret(source.auth.secret, environment)
    shown = [told, quote_plus(told)]
    match source.auth:
        case Bearer():
            headers["Authorization"] = f"Bearer {told}"
        case HttpBasic(username=username):
            pair = base64.b64encode(f"{username}:{told}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            shown.append(pair)
        case ApiKey(name=name, location="header"):
            headers[name] = told
        case ApiKey(name=name):
            params[name] = told
    return tuple(shown)


def secret(name: str, environment: Mapping[str, str]) -> str:
    """From `SECRET_<NAME>`, or from the file of that name in SECRETS_DIR. Raises Permanent."""
    told = environment.get(f"SECRET_{name.upper()}", "")
    if not told and environment.get("SECRETS_DIR"):
        try:
            told = (Path(environment["SECRETS_DIR"]) / name).read_text()
        except (OSError, UnicodeDecodeError):
            told = ""
    told = told.strip()
    if not PRINTABLE.fullmatch(told):
        hint = f"Give the ingestor SECRET_{name.upper()}, or a file called {name} in the folder SECRETS_DIR."
        raise _wrong("secret_missing", f"The secret {name} is not set, or is not of printable ASCII characters.", hint)
    return told


def _wrong(code: str, detail: str, hint: str = "") -> Permanent:
    return Permanent(Problem(code=code, detail=detail, hint=hint))
