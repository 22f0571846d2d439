"""The frame of a consuming service: what it hears, what it sweeps, and the process around it."""

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
from shared.bus.relay import Relay
from shared.bus.routes import Route
from shared.bus.sweeper import Sweep, Sweeper
from shared.bus.watch import watch
from shared.contracts.message import Message
from shared.db import Connection, Pool, connect, transaction
from shared.db.faults import UNAVAILABLE
from shared.settings import ServiceSettings
from shared.telemetry import operations

RETRY_SECONDS = 1.0
log = structlog.get_logger()

Start = Callable[[Connection], Awaitable[list[Message]]]


class Consumer:
    """A service on the bus: pool, relay, subscribers and sweeper, from start to stop.

    A handler may take any of `dependencies`, the `Connection` of its transaction, and the `Pool`. `start` runs once,
    in a transaction, before the first delivery; the messages that it returns are sent. `periodic` tasks run throughout.
    """

    def __init__(
        self,
        service: str,
        routes: tuple[Route, ...],
        *,
        settings: ServiceSettings,
        dependencies: dict[Any, Any],
        sweep: Sweep,
        start: Start | None = None,
        periodic: tuple[PeriodicTask, ...] = (),
    ) -> None:
        self.service = service
        self.routes = routes
        self.publisher = Publisher(settings.broker_url, service)
        self.deliveries: list[Delivery] = []
        self.stopping = asyncio.Event()
        """Set when the process is asked to end: whoever holds a request open lets it go."""
        self._settings = settings
        self._dependencies = dependencies
        self._sweep = sweep
        self._start = start
        self._clocks = periodic
        self._pool: Pool | None = None
        self._relay: Relay | None = None
        self._hears = False

    @property
    def pool(self) -> Pool:
        """Raises RuntimeError before the service runs."""
        if self._pool is None:
            raise RuntimeError("the service is not running")
        return self._pool

    @property
    def relay(self) -> Relay:
        """Raises RuntimeError before the service runs."""
        if self._relay is None:
            raise RuntimeError("the service is not running")
        return self._relay

    @contextlib.asynccontextmanager
    async def running(self, _app: Litestar) -> AsyncIterator[None]:
        """The lifespan: ready for requests once Postgres is, whether or not RabbitMQ is there."""
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
        works = {
            "relay": self._relay.run(),
            "consume": self._consume(consuming),
            "sweep": Sweeper(self._pool, self._relay, self._sweep).run(),
        }
        works |= {clock.name: clock.run(self._pool, self._relay) for clock in self._clocks}
        tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        for task in tasks:
            task.add_done_callback(_exit_on_bug)
        log.info("started", hears=[route.message.name() for route in self.routes])
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
        """What /health/ready says of a service that can wait for the broker."""
        try:
            async with asyncio.timeout(2):
                await self.pool.execute("SELECT 1")
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the answer is "not ready" and why
            return {"database": f"{type(error).__name__}: {error}"}
        return {"database": "ok"}

    async def check(self) -> dict[str, str]:
        """What /health/ready says of a service that does nothing but consume."""
        hears = self._hears and self.publisher.is_connected
        return {**await self.check_database(), "broker": "ok" if hears else "away"}

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
        """Until cancelled. The robust connection comes back by itself once it has been there; until then this tries."""
        while not self._hears:
            try:
                await consuming.start()
                await self.publisher.channel()
            except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as error:
                log.warning("waiting for rabbitmq", error=repr(error))
                with contextlib.suppress(Exception):
                    await consuming.stop()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._hears = True
        await watch(self.pool, self.publisher, [route.queue(self.service) for route in self.routes])


def _exit_on_bug(task: asyncio.Task[None]) -> None:
    """A background task never ends by itself: to die and be started afresh beats living deaf."""
    if not task.cancelled() and task.exception() is not None:
        log.error("background task died", task=task.get_name(), exc_info=task.exception())
        os._exit(1)


def operations_app(consumer: Consumer) -> Litestar:
    """The HTTP side of a service that has no other: health and metrics."""
    app = Litestar(
        operations.routes(consumer.check), lifespan=[consumer.running], openapi_config=None, logging_config=None
    )
    app.state.consumer = consumer
    return app
