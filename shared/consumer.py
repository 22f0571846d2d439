"""Life cycle of a service on the bus: pool, relay, subscribers, recovery and periodic tasks."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiormq
import structlog
from faststream.rabbit import RabbitBroker
from litestar import Litestar

from shared.bus import broker, outbox
from shared.bus.delivery import Delivery
from shared.bus.periodic import PeriodicTask
from shared.bus.publisher import Publisher
from shared.bus.recovery import Recovery
from shared.bus.relay import Relay
from shared.bus.routes import Route
from shared.bus.watch import watch
from shared.contracts.message import Message
from shared.db import Connection, Pool, connect, transaction
from shared.db.faults import UNAVAILABLE
from shared.settings import ServiceSettings
from shared.telemetry import operations

RETRY_SECONDS = 1.0
log = structlog.get_logger()

Start = Callable[[Connection], Awaitable[list[Message]]]
"""Returns messages to send when the service starts."""


class Consumer:
    """A service on the bus.

    A handler may take any of `dependencies`, the `Connection` of its transaction, and the `Pool`. `start` runs once, in
    a transaction, before the first delivery. `periodic` tasks run from start to stop.
    """

    def __init__(
        self,
        service: str,
        routes: tuple[Route, ...],
        *,
        settings: ServiceSettings,
        dependencies: dict[Any, Any],
        start: Start | None = None,
        periodic: tuple[PeriodicTask, ...] = (),
    ) -> None:
        self.service = service
        self.routes = routes
        self.publisher = Publisher(settings.broker_url, service)
        self.deliveries: list[Delivery] = []
        self.stopping = asyncio.Event()
        """Set when the process shuts down: long polls and streams end then."""
        self._settings = settings
        self._dependencies = dependencies
        self._start = start
        self._periodic_tasks = periodic
        self._pool: Pool | None = None
        self._relay: Relay | None = None
        self._is_consuming = False

    @property
    def pool(self) -> Pool:
        """Raises RuntimeError unless the service is running."""
        if self._pool is None:
            raise RuntimeError("the service is not running")
        return self._pool

    @property
    def relay(self) -> Relay:
        """Raises RuntimeError unless the service is running."""
        if self._relay is None:
            raise RuntimeError("the service is not running")
        return self._relay

    @contextlib.asynccontextmanager
    async def running(self, _app: Litestar) -> AsyncIterator[None]:
        """Lifespan of the app: waits for Postgres, but not for RabbitMQ."""
        self._pool = await self._connect()
        self._relay = Relay(self._pool, self.publisher)
        if self._start is not None:
            async with transaction(self._pool) as db:
                await outbox.insert_messages(db, await self._start(db))
        consuming, self.deliveries = broker.build_broker(
            self.service,
            self._settings.broker_url,
            self.routes,
            self._pool,
            self._relay,
            {**self._dependencies, Pool: self._pool},
        )
        recovery = Recovery(self.service, self._pool, self._relay, self.publisher, self.deliveries)
        coroutines = {
            "relay": self._relay.run(),
            "consume": self._consume(consuming),
            "recover": recovery.run(),
            "clean up": recovery.clean_up(),
        }
        coroutines |= {task.name: task.run(self._pool, self._relay) for task in self._periodic_tasks}
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in coroutines.items()]
        for task in tasks:
            task.add_done_callback(_exit_on_bug)
        log.info("started", messages=[route.message.name() for route in self.routes])
        try:
            yield
        finally:
            await broker.stop(consuming, self.deliveries)
            for task in tasks:
                task.remove_done_callback(_exit_on_bug)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await consuming.stop()
            await self.publisher.close()
            await self._pool.close()
            log.info("stopped")

    async def check_database(self) -> dict[str, str]:
        """Readiness of a service that works without the broker."""
        try:
            async with asyncio.timeout(2):
                await self.pool.execute("SELECT 1")
        except Exception as error:  # noqa: BLE001 - any error means "not ready"
            return {"database": f"{type(error).__name__}: {error}"}
        return {"database": "ok"}

    async def check(self) -> dict[str, str]:
        """Readiness of a service that only consumes."""
        is_connected = self._is_consuming and self.publisher.is_connected
        return {**await self.check_database(), "broker": "ok" if is_connected else "away"}

    async def _connect(self) -> Pool:
        while True:
            try:
                return await connect(
                    self._settings.database_url,
                    name=f"millrace {self.service}",
                    connections=self._settings.database_connections,
                )
            except (*UNAVAILABLE, OSError) as error:
                log.warning("waiting for postgres", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _consume(self, consuming: RabbitBroker) -> None:
        """Starts consuming, then watches the queues until cancelled.

        A robust connection reconnects only after it was connected once, so the first attempts are repeated here.
        """
        while not self._is_consuming:
            try:
                await consuming.start()
                await self.publisher.channel()
            except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as error:
                log.warning("waiting for rabbitmq", error=repr(error))
                with contextlib.suppress(Exception):
                    await consuming.stop()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._is_consuming = True
        await watch(self.pool, self.publisher, [route.queue(self.service) for route in self.routes])


def _exit_on_bug(task: asyncio.Task[None]) -> None:
    """Ends the process if a background task fails: a restart is better than a service that works only in part."""
    if not task.cancelled() and task.exception() is not None:
        log.error("background task failed", task=task.get_name(), exc_info=task.exception())
        os._exit(1)


def operations_app(consumer: Consumer) -> Litestar:
    """Returns the HTTP app of a service without an API: health and metrics."""
    app = Litestar(
        operations.routes(consumer.check), lifespan=[consumer.running], openapi_config=None, logging_config=None
    )
    app.state.consumer = consumer
    return app
