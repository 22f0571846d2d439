"""The process around a service: settings, logs, the HTTP server, and the signals that end it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar

from shared import settings
from shared.catalog.files import BadDeclaration
from shared.settings import BadSettings, ServiceSettings
from shared.telemetry import logs

Told = TypeVar("Told", bound=ServiceSettings)


def serve(service: str, kind: type[Told], build: Callable[[Told], Litestar]) -> None:
    """Runs a service until SIGTERM or SIGINT. Wrong settings or declarations end it with one message about all."""
    try:
        told = settings.read(kind)
        logs.configure(service, told.log_level)
        app = build(told)
    except (BadSettings, BadDeclaration, ValueError) as error:
        sys.exit(f"{service} can't start:\n{error}")
    uvloop.run(_serve(app, told))


async def _serve(app: Litestar, told: ServiceSettings) -> None:
    # One process, so that its pid is the service: killing it kills the service, not a supervisor of it.
    server = Server(app, address=told.http_host, port=told.http_port, interface=Interfaces.ASGI, log_enabled=False)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        app.state.consumer.stopping.set()
        server.stop()  # type: ignore[no-untyped-call]  # the server has types, this method has not

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve()
    # Everything is closed by now; a robust connection of aio-pika that swallows its cancellation must not keep us.
    sys.stdout.flush()
    os._exit(0)
