"""Authentication by a bearer key on every request, authorization by the scope of the route.

A route without a scope refuses all requests.
"""

import time
from typing import Any, ClassVar

from litestar.connection import ASGIConnection
from litestar.constants import RESERVED_KWARGS
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from services.gateway.http import api_keys
from services.gateway.http.api_keys import Key
from services.gateway.http.problems import Detail, Problem

CACHE_SECONDS = 10.0
CACHED_KEYS = 10_000


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the API key of a request. Valid keys are cached, so a revoked key works for CACHE_SECONDS at most."""

    cache: ClassVar[dict[str, tuple[float, Key]]] = {}

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Returns the key of the request, or none for a public route. Raises Problem 401."""
        if connection.route_handler.opt.get("public"):
            return AuthenticationResult(user=None, auth=None)
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise _unauthorized("This request has no API key.")
        cached = self.cache.get(text)
        if cached is None or time.monotonic() - cached[0] > CACHE_SECONDS:
            async with connection.app.state.consumer.pool.acquire() as db:
                key = await api_keys.find(db, text.strip())
            if key is None:
                self.cache.pop(text, None)
                raise _unauthorized("This API key is unknown, expired or revoked.")
            if len(self.cache) >= CACHED_KEYS:
                self.cache.clear()
            cached = self.cache[text] = (time.monotonic(), key)
        return AuthenticationResult(user=cached[1], auth=None)


async def check_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises Problem 403 if the key lacks the scope of the route."""
    if handler.opt.get("public"):
        return
    scope = handler.opt.get("scope")
    key = connection.user
    if scope is None or not key.allows(scope):
        raise Problem(
            403,
            "forbidden",
            f"The API key {key.name!r} has the scope {key.scope!r}; this route requires {scope!r}.",
            hint="Ask an operator for a key with that scope.",
        )


async def check_query_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises Problem 422 for a parameter that the route does not have, unless the route sets `any_query`.

    An ignored misspelt parameter would give a wrong result.
    """
    if not connection.scope["query_string"] or handler.opt.get("public") or handler.opt.get("any_query"):
        return
    unknown = sorted(set(connection.query_params) - query_parameters(connection))
    if unknown:
        raise Problem(
            422,
            "unknown_parameter",
            f"This route has no parameter {', '.join(unknown)}.",
            hint="The parameters of every route are listed at /docs.",
            errors=[
                Detail(code="unknown_parameter", column=name, detail=f"{name!r} is not known.") for name in unknown
            ],
        )


def query_parameters(connection: ASGIConnection[Any, Any, Any, Any]) -> set[str]:
    """Returns the names of the query parameters that the route declares."""
    handler = connection.route_handler
    others = {*handler.resolve_dependencies(), *RESERVED_KWARGS, *connection.path_params}
    definitions = {
        name: field.kwarg_definition
        for name, field in handler.parsed_fn_signature.parameters.items()
        if name not in others and not getattr(field.kwarg_definition, "header", None)
    }
    return {getattr(definition, "query", None) or name for name, definition in definitions.items()}


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        detail,
        hint="Send the header `Authorization: Bearer KEY`; the local stack keeps its key in .local/api-key.",
        headers={"WWW-Authenticate": 'Bearer realm="millrace"'},
    )
