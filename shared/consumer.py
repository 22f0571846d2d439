"""Life cycle of a service on the bus: pool, relay, subscribers, recovery and periodic tasks."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from litestar import Litestar

from shared.bus import outbox
from shared.bus.cancellation import POLL_SECONDS, Cancellation
from shared.bus.dead_queue import DeadQueue
from shared.bus.delivery import Delivery
from shared.bus.group_delivery import GroupDelivery
from shared.bus.handling import Handling
from shared.bus.periodic import PeriodicTask
from shared.bus.publisher import Publisher
from shared.bus.recovery import Recovery
from shared.bus.relay import Relay
from shared.bus.routes import Committed, Route
from shared.bus.subscriptions import Subscriptions
from shared.contracts.message import Message
from shared.db import Connection, Pool, connect, transaction
from shared.db.faults import NOT_MIGRATED, UNAVAILABLE
from shared.settings import ServiceSettings
from shared.telemetry import operations

RETRY_SECONDS = 1.0
log = structlog.get_logger()

Start = Callable[[Connection], Awaitable[list[Message]]]
"""Returns messages to send when the service starts."""


class Consumer:
    """A service on the bus.

    A handler may take any of `dependencies`, the `Connection` of its transaction, and the `Pool`. `start` runs once, in
    a transaction, before the first delivery. `periodic` tasks run from start to stop. One service `drains_dead_queue`.
    `committed` takes the messages of the handlers of each transaction, after its commit.
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
        drains_dead_queue: bool = False,
        committed: Committed | None = None,
    ) -> None:
        self.service = service
        self.routes = routes
        self.publisher = Publisher(settings.broker_url, service)
        self.handlings: list[Handling] = []
        self.deliveries: list[Delivery | GroupDelivery] = []
        self.stopping = asyncio.Event()
        """Set when the process shuts down: long polls and streams end then."""
        self._settings = settings
        self._dependencies = dependencies
        self._start = start
        self._periodic_tasks = periodic
        self._drains_dead_queue = drains_dead_queue
        self._committed = committed
        self._pool: Pool | None = None
        self._relay: Relay | None = None
        self._subscriptions: Subscriptions | None = None

    @property
    def has_started(self) -> bool:
        """Whether Postgres was there and migrated."""
        return self._pool is not None

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

    @property
    def subscriptions(self) -> Subscriptions:
        """Raises RuntimeError unless the service is running."""
        if self._subscriptions is None:
            raise RuntimeError("the service is not running")
        return self._subscriptions

    @contextlib.asynccontextmanager
    async def running(self, _app: Litestar) -> AsyncIterator[None]:
        """Lifespan of the app: waits for Postgres, but not for RabbitMQ."""
        self._pool = await self._connect()
        self._relay = Relay(self._pool, self.publisher)
        dependencies = {**self._dependencies, Pool: self._pool}
        suspects = asyncio.Lock()
        self.handlings = [
            Handling(self.service, route, lane, self._pool, self._relay, dependencies, suspects, self._committed)
            for route in self.routes
            for lane in route.message.lanes
        ]
        groups = [GroupDelivery(one) for one in self.handlings if one.route.has_groups(one.lane)]
        singles = [Delivery(one) for one in self.handlings if not one.route.has_groups(one.lane)]
        dead_queues = [DeadQueue(self.service, self._pool)] if self._drains_dead_queue else []
        self.deliveries = [*singles, *groups]
        subscriptions = self._subscriptions = Subscriptions(
            self.service,
            self._settings.broker_url,
            self.routes,
            [*singles, *dead_queues],
            groups,
            self.publisher,
            self._pool,
        )
        recovery = Recovery(self.service, self._pool, self._relay, self.publisher, self.handlings)
        coroutines = {
            "relay": self._relay.run(),
            "consume": subscriptions.run(),
            "recover": recovery.run(),
            "clean up": recovery.clean_up(),
        }
        cancellation = PeriodicTask(Cancellation(self.service, self.handlings).run, POLL_SECONDS)
        coroutines |= {task.name: task.run(self._pool, self._relay) for task in (*self._periodic_tasks, cancellation)}
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in coroutines.items()]
        for task in tasks:
            task.add_done_callback(_exit_on_bug)
        draining = asyncio.create_task(self._drain(tasks[1], subscriptions))
        log.info("started", messages=[route.message.name() for route in self.routes])
        try:
            yield
        finally:
            self.stopping.set()
            await draining
            for task in tasks:
                task.remove_done_callback(_exit_on_bug)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await subscriptions.close()
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

    async def check_bus(self) -> dict[str, str]:
        """What keeps messages from being consumed and published."""
        return {"broker": self.subscriptions.state, "outbox": self.relay.state}

    async def check(self) -> dict[str, str]:
        """Readiness of a service that only consumes."""
        return {**await self.check_database(), **await self.check_bus()}

    async def _connect(self) -> Pool:
        """Connects and starts, as soon as Postgres is there and migrated."""
        while True:
            pool = None
            try:
                pool = await connect(
                    self._settings.database_url,
                    name=f"millrace {self.service}",
                    connections=self._settings.database_connections,
                )
                async with transaction(pool) as db:
                    await db.execute("SELECT FROM outbox LIMIT 0")
                    if self._start is not None:
                        await outbox.insert_messages(db, await self._start(db))
            except (*UNAVAILABLE, *NOT_MIGRATED, OSError) as error:
                log.warning("waiting for postgres", error=repr(error))
                if pool is not None:
                    pool.terminate()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return pool

    async def _drain(self, consuming: asyncio.Task[None], subscriptions: Subscriptions) -> None:
        """Stops consuming as soon as the process shuts down, while requests may go on."""
        await self.stopping.wait()
        consuming.remove_done_callback(_exit_on_bug)
        consuming.cancel()
        await subscriptions.stop()


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
