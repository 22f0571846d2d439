"""Who may ask for what: a bearer key on every request, a scope on every route. A route that names none is refused."""

import time
from typing import Any, ClassVar

from litestar.connection import ASGIConnection
from litestar.constants import RESERVED_KWARGS
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from services.gateway.http import api_keys
from services.gateway.http.api_keys import Key
from services.gateway.http.problems import Detail, Problem

REMEMBERED_SECONDS = 10.0
REMEMBERED_KEYS = 10_000


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the key of a request. A good key is remembered for a few seconds, so a revoked one ends within them."""

    remembered: ClassVar[dict[str, tuple[float, Key]]] = {}

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Raises Problem 401; public routes don't come here."""
        if connection.route_handler.opt.get("public"):
            return AuthenticationResult(user=None, auth=None)
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise _unauthorized("This request has no API key.")
        known = self.remembered.get(text)
        if known is None or time.monotonic() - known[0] > REMEMBERED_SECONDS:
            async with connection.app.state.consumer.pool.acquire() as db:
                key = await api_keys.find(db, text.strip())
            if key is None:
                self.remembered.pop(text, None)
                raise _unauthorized("This API key is not known, or no longer good.")
            if len(self.remembered) >= REMEMBERED_KEYS:
                self.remembered.clear()
            known = self.remembered[text] = (time.monotonic(), key)
        return AuthenticationResult(user=known[1], auth=None)


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises Problem 403."""
    if handler.opt.get("public"):
        return
    scope = handler.opt.get("scope")
    key = connection.user
    if scope is None or not key.allows(scope):
        raise Problem(
            403,
            "forbidden",
            f"The API key {key.name!r} has the scope {key.scope!r}; this needs {scope!r}.",
            hint="Ask an operator for a key with that scope.",
        )


async def refuse_unknown_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises Problem 422: a misspelt parameter that is ignored gives a wrong answer. A route may take `any_query`."""
    if not connection.scope["query_string"] or handler.opt.get("public") or handler.opt.get("any_query"):
        return
    wrong = sorted(set(connection.query_params) - parameters(connection))
    if wrong:
        raise Problem(
            422,
            "unknown_parameter",
            f"This route has no parameter {', '.join(wrong)}.",
            hint="The parameters of every route are listed at /docs.",
            errors=[Detail(code="unknown_parameter", column=name, detail=f"{name!r} is not known.") for name in wrong],
        )


def parameters(connection: ASGIConnection[Any, Any, Any, Any]) -> set[str]:
    """What the query string of a request to this route may have, fields and the like not counted."""
    handler = connection.route_handler
    given = {*handler.resolve_dependencies(), *RESERVED_KWARGS, *connection.path_params}
    kinds = {
        name: field.kwarg_definition
        for name, field in handler.parsed_fn_signature.parameters.items()
        if name not in given and not getattr(field.kwarg_definition, "header", None)
    }
    return {getattr(kind, "query", None) or name for name, kind in kinds.items()}


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        detail,
        hint="Send the header `Authorization: Bearer KEY`; the local stack keeps its key in .local/api-key.",
        headers={"WWW-Authenticate": 'Bearer realm="millrace"'},
    )
