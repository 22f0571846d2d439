"""Requests one page of a source, with its secret, and reads the response."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2

from services.ingestor.sources import mapping
from shared.bus.failures import TransientFailure
from shared.catalog.paginators import Page, Place
from shared.catalog.source import Source
from shared.contracts.parts import Problem
from shared.outgoing import endpoint
from shared.outgoing.http_client import OutboundSession, to_display_url


class PageRequest(NamedTuple):
    """A request, and the secrets in it, which no problem may show."""

    request: httpx2.Request
    secrets: tuple[str, ...]


async def fetch_page(
    session: OutboundSession, source: Source, at: Place, since: str | None, environment: Mapping[str, str]
) -> Page:
    """Returns the page at a place of the source. Raises TransientFailure and PermanentFailure."""
    page_request = build_request(source, at, since, environment)
    if source.requests_per_second is not None:
        await session.wait_for_turn(page_request.request.url.host, source.requests_per_second)
    response = await session.send(
        page_request.request, seconds=source.timeout_seconds, limit=source.max_bytes, secrets=page_request.secrets
    )
    try:
        document = mapping.read(response.body, response.encoding, source)
    except mapping.UnreadableResponse as error:
        detail = f"The response of {to_display_url(page_request.request.url)} can't be read: {error}."
        raise TransientFailure(None, Problem(code="source_unreadable", detail=detail)) from None
    return Page(mapping.rows(document, source), document, response.links)


def host(source: Source, environment: Mapping[str, str]) -> str:
    """Returns the host of the source, with its port. Raises PermanentFailure."""
    return urlsplit(_resolve_url(source, environment)).netloc


def _resolve_url(source: Source, environment: Mapping[str, str]) -> str:
    return endpoint.resolve_url(f"The source {source.name}", source.url, environment)


def build_request(source: Source, at: Place, since: str | None, environment: Mapping[str, str]) -> PageRequest:
    """Returns the request for a page; an incremental source sends rows from `since` on. Raises PermanentFailure."""
    base = _resolve_url(source, environment)
    headers = dict(source.headers)
    params: dict[str, str | int | float | bool] = {}
    link = source.paginator.link(at)
    if link is None:
        params |= source.params
        if source.incremental and since is not None:
            params[source.incremental.start_param] = since
        params |= source.paginator.parameters(at)
    secrets = endpoint.authorize(source.auth, environment, headers, params)
    try:
        url = httpx2.URL(base)
        if link is not None:
            url = _check_host(url, url.join(link))
        return PageRequest(httpx2.Request("GET", url.copy_merge_params(params), headers=headers), secrets)
    except (httpx2.InvalidURL, ValueError):
        raise endpoint.to_failure("source_forbidden", f"The source {source.name} has an invalid URL.") from None


def _check_host(base: httpx2.URL, link: httpx2.URL) -> httpx2.URL:
    """Returns the link. Raises PermanentFailure if it leads to another host, which must not get the secret."""
    if (link.scheme, link.raw_host, link.port) != (base.scheme, base.raw_host, base.port):
        detail = f"{to_display_url(base)} links to {to_display_url(link)}, which is another host."
        raise endpoint.to_failure("source_forbidden", detail)
    return link
