"""One page of a source: where it is asked for, with which secret, and what it says."""

from collections.abc import Mapping
from typing import NamedTuple

import httpx2

from services.ingestor.sources import mapping, paginators
from services.ingestor.sources.paginators import Page, Place
from shared.bus.failures import TransientFailure
from shared.catalog.source import Source
from shared.contracts.parts import Problem
from shared.outgoing import endpoint
from shared.outgoing.http_client import OutboundSession, to_display_url


class Question(NamedTuple):
    """A request, and the texts that must not be seen in any problem."""

    request: httpx2.Request
    secrets: tuple[str, ...]


async def fetch(
    session: OutboundSession, source: Source, at: Place, since: str | None, environment: Mapping[str, str]
) -> Page:
    """The page at this place. Raises TransientFailure and PermanentFailure."""
    question = ask(source, at, since, environment)
    if source.requests_per_second is not None:
        await session.wait_for_turn(question.request.url.host, source.requests_per_second)
    answer = await session.send(
        question.request, seconds=source.timeout_seconds, limit=source.max_bytes, secrets=question.secrets
    )
    try:
        document = mapping.read(answer.body, answer.encoding, source)
    except mapping.Unreadable as error:
        detail = f"What {to_display_url(question.request.url)} answered can't be read: {error}."
        raise TransientFailure(None, Problem(code="source_unreadable", detail=detail)) from None
    return Page(mapping.rows(document, source), document, answer.links)


def ask(source: Source, at: Place, since: str | None, environment: Mapping[str, str]) -> Question:
    """The request for a page; `since` is what an incremental source has told already. Raises PermanentFailure."""
    base = endpoint.resolve_url(f"The source {source.name}", source.url, environment)
    headers = dict(source.headers)
    params: dict[str, str | int | float | bool] = {}
    link = paginators.link(source.paginator, at)
    if link is None:
        params |= source.params
        if source.incremental and since is not None:
            params[source.incremental.start_param] = since
        params |= paginators.parameters(source.paginator, at)
    secrets = endpoint.authorize(source.auth, environment, headers, params)
    try:
        url = httpx2.URL(base)
        if link is not None:
            url = _within(url, url.join(link))
        return Question(httpx2.Request("GET", url.copy_merge_params(params), headers=headers), secrets)
    except (httpx2.InvalidURL, ValueError):
        raise endpoint.to_failure("source_forbidden", f"The source {source.name} has a URL that is none.") from None


def _within(base: httpx2.URL, link: httpx2.URL) -> httpx2.URL:
    """The link, if it stays where the source is: another host must not be told its secret."""
    if (link.scheme, link.raw_host, link.port) != (base.scheme, base.raw_host, base.port):
        raise endpoint.to_failure(
            "source_forbidden", f"{to_display_url(base)} leads on to {to_display_url(link)}, which is another host."
        )
    return link
