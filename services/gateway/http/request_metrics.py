"""How long requests take, by route and status."""

import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from shared.telemetry import metrics


def measure(app: ASGIApp) -> ASGIApp:
    """A middleware; requests to paths that there are not share one label."""

    async def measured(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            route = scope.get("path_template") or "none"
            metrics.HTTP_SECONDS.labels(scope["method"], route, str(status)).observe(time.monotonic() - began)

    return measured
