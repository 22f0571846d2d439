"""An answer that comes before the upload has ended, and reaches also those who send it all before they listen."""

import asyncio
import contextlib

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

LONGEST_SECONDS = 30.0
IDLE_SECONDS = 0.3


def linger(app: ASGIApp) -> ASGIApp:
    """A middleware. Closing a connection with unread bytes resets it, and a reset takes back the answer.

    So its last byte is withheld while the rest of the upload is thrown away: until nothing more comes, as from those
    who listen while they send, or for half a minute at most.
    """

    async def lingering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        received = False

        async def noting() -> HTTPReceiveMessage:
            nonlocal received
            message = await receive()
            received = message["type"] != "http.request" or not message.get("more_body", False)
            return message  # type: ignore[return-value]

        async def holding(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body") or received:
                await send(message)
                return
            body = message["body"]
            await send({"type": "http.response.body", "body": body[:-1], "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    while not received:
                        async with asyncio.timeout(IDLE_SECONDS):
                            await noting()
            await send({"type": "http.response.body", "body": body[-1:], "more_body": False})

        await app(scope, noting, holding)

    return lingering
