"""Runs the sandbox: `python -m sandbox`, configured by HTTP_HOST, HTTP_PORT and CRM_TOKEN."""

import asyncio
import os
import signal

from granian.constants import Interfaces
from granian.server.embed import Server

from sandbox.app import build


async def serve() -> None:
    """Serves until SIGTERM or SIGINT."""
    server = Server(
        build(os.environ.get("CRM_TOKEN", "sandbox")),
        address=os.environ.get("HTTP_HOST", "127.0.0.1"),
        port=int(os.environ.get("HTTP_PORT", "8100")),
        interface=Interfaces.ASGI,
        log_enabled=False,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    await server.serve()


asyncio.run(serve())
