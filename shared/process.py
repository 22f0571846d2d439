"""Process of a service: reads settings, configures logs, serves HTTP and stops on signals."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar

from shared.catalog.files import BadDeclaration
from shared.settings import BadSettings, ServiceSettings, read
from shared.telemetry import logs
from shared.workers import is_worker, run_workers

EXIT_SECONDS = 9.0
"""From SIGTERM to the end of the process, whatever requests are open then."""
CONNECTIONS = 4096
"""Open connections of clients, idle ones and streams included; more of them wait unanswered."""
BACKLOG = 1024
"""Connections that the kernel has accepted and the process has not."""

Settings = TypeVar("Settings", bound=ServiceSettings)


def serve(
    service: str,
    kind: type[Settings],
    build: Callable[[Settings], Litestar],
    *,
    workers: Callable[[Settings], int] = lambda _settings: 1,
) -> None:
    """Runs a service until SIGTERM or SIGINT, in as many processes as `workers` returns.

    Exits with one message about all invalid settings or declarations.
    """
    try:
        settings = read(kind)
        logs.configure(service, settings.log_level)
        app = build(settings)
    except (BadSettings, BadDeclaration, ValueError) as error:
        sys.exit(f"{service} can't start:\n{error}")
    if workers(settings) > 1 and not is_worker():
        asyncio.run(run_workers(workers(settings), EXIT_SECONDS))
        return
    # A connection is an open file, and the usual soft limit is 1024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()  # what stays until the end: a full collection would visit it all, for tens of milliseconds
    uvloop.run(_serve(app, settings))


async def _serve(app: Litestar, settings: ServiceSettings) -> None:
    # The embedded server runs in this process, so that signals to its pid reach the service and not a supervisor.
    server = Server(
        app,
        address=settings.http_host,
        port=settings.http_port,
        interface=Interfaces.ASGI,
        log_enabled=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        app.state.consumer.stopping.set()
        server.stop()  # type: ignore[no-untyped-call]  # untyped in granian
        loop.call_later(EXIT_SECONDS if app.state.consumer.has_started else 0, _exit)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if is_worker():
        loop.add_reader(sys.stdin.fileno(), stop)  # at its end, when the parent process is gone
    await server.serve()
    # Everything is closed. A robust connection of aio-pika may swallow its cancellation, and must not block the exit.
    _exit()


def _exit() -> None:
    """Ends the process. Postgres rolls back what is open, and RabbitMQ redelivers it."""
    sys.stdout.flush()
    os._exit(0)
