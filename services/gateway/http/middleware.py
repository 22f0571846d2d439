"""ASGI middleware: request metrics, and early responses to uploads."""

import asyncio
import contextlib
import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from shared.telemetry import metrics

DRAIN_SECONDS = 30.0
IDLE_SECONDS = 0.3


def measure_requests(app: ASGIApp) -> ASGIApp:
    """Measures the duration of requests by route and status. Requests to unknown paths share one label."""

    async def measured(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, send_and_note_status)
        finally:
            route = scope.get("path_template") or "none"
            metrics.HTTP_SECONDS.labels(scope["method"], route, str(status)).observe(time.monotonic() - began)

    return measured


def drain_uploads(app: ASGIApp) -> ASGIApp:
    """Drains the request body after an early response, so that clients that send first can still read it.

    Closing a connection with unread bytes resets it, and the client loses the response. So the last byte of the
    response is held back while the rest of the body is discarded: until the client pauses for IDLE_SECONDS, as one does
    that reads while it sends, or for DRAIN_SECONDS at most.
    """

    async def drained(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        received = False

        async def receive_and_note_end() -> HTTPReceiveMessage:
            nonlocal received
            message = await receive()
            received = message["type"] != "http.request" or not message.get("more_body", False)
            return message  # type: ignore[return-value]

        async def send_after_draining(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body") or received:
                await send(message)
                return
            body = message["body"]
            await send({"type": "http.response.body", "body": body[:-1], "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    while not received:
                        async with asyncio.timeout(IDLE_SECONDS):
                            await receive_and_note_end()
            await send({"type": "http.response.body", "body": body[-1:], "more_body": False})

        await app(scope, receive_and_note_end, send_after_draining)

    return drained
