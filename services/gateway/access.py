"""Who may ask for what: a bearer key on every request, a scope on every route. A route that names none is refused."""

import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from services.gateway import keys
from services.gateway.keys import Key
from services.gateway.problems import Problem

REMEMBERED_SECONDS = 10.0
REMEMBERED_KEYS = 10_000


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the key of a request. A good key is remembered for a few seconds, so a revoked one ends within them."""

    remembered: dict[str, tuple[float, Key]] = {}

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
                key = await keys.find(db, text.strip())
            if key is None:
                self.remembered.pop(text, None)
                raise _unauthorized("This API key is not known, or no longer good.")
            if len(self.remembered) >= REMEMBERED_KEYS:
                self.remembered.clear()
            known = self.remembered[text] = (time.monotonic(), key)
        return AuthenticationResult(user=known[1], auth=None)


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
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


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        detail,
        hint="Send the header `Authorization: Bearer KEY`; the local stack keeps its key in .local/api-key.",
        headers={"WWW-Authenticate": 'Bearer realm="millrace"'},
    )
