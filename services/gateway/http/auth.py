"""Authentication by a bearer key on every request, authorization by the scope of the route.

A route without a scope refuses all requests.
"""

import time
from typing import Any, ClassVar

from litestar.connection import ASGIConnection
from litestar.constants import RESERVED_KWARGS
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from services.gateway.http import api_keys, options
from services.gateway.http.api_keys import Key
from services.gateway.http.problems import Detail, Problem

CACHE_SECONDS = 10.0
CACHED_KEYS = 10_000


class Authentication:
    """ASGI middleware that lets a request to its route if its API key and its query parameters are good.

    Valid keys are cached, so a revoked key works for CACHE_SECONDS at most.
    """

    cache: ClassVar[dict[bytes, tuple[float, Key]]] = {}

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem 401, 403 or 422. The key becomes the user of the request."""
        if scope["type"] == ScopeType.HTTP:
            if scope["method"] == "OPTIONS":
                await options.respond(scope, send)
                return
            opt = scope["route_handler"].opt
            if not opt.get("public"):
                scope["user"] = key = await self._find_key(scope)
                _check_scope(key, opt.get("scope"))
                if scope["query_string"] and not opt.get("any_query"):
                    _check_query_parameters(ASGIConnection(scope))
        await self._app(scope, receive, send)

    async def _find_key(self, scope: Scope) -> Key:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, text = header.partition(b" ")
        if scheme.lower() != b"bearer" or not text:
            raise _unauthorized("This request has no API key.")
        cached = self.cache.get(text)
        if cached is None or time.monotonic() - cached[0] > CACHE_SECONDS:
            async with scope["litestar_app"].state.consumer.pool.acquire() as db:
                key = await api_keys.find(db, text.decode("latin-1").strip())
            if key is None:
                self.cache.pop(text, None)
                raise _unauthorized("This API key is unknown, expired or revoked.")
            if len(self.cache) >= CACHED_KEYS:
                self.cache.clear()
            cached = self.cache[text] = (time.monotonic(), key)
        return cached[1]


def _check_scope(key: Key, scope: str | None) -> None:
    if scope is None or not key.allows(scope):
        raise Problem(
            403,
            "forbidden",
            f"The API key {key.name!r} has the scope {key.scope!r}; this route requires {scope!r}.",
            hint="Ask an operator for a key with that scope.",
        )


def _check_query_parameters(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Raises Problem 422 for a parameter that the route does not have: ignoring a misspelt one gives a wrong result."""
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
