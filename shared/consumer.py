"""The frame of a consuming service: what it hears, what it sweeps, and the process around it."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import aiormq
import structlog
from faststream.rabbit import RabbitBroker
from litestar import Litestar

from shared.bus import broker, inbox, outbox
from shared.bus.delivery import Delivery
from shared.bus.publisher import Publisher
from shared.bus.relay import Relay
from shared.bus.routes import Route
from shared.bus.topology import DEAD
from shared.contracts.message import Message
from shared.db import Connection, Pool, connect
from shared.db.faults import AWAY
from shared.settings import ServiceSettings
from shared.telemetry import metrics, operations

RETRY_SECONDS = 1.0
WATCH_SECONDS = 5.0
SWEEP_SECONDS = 5.0
RESEND_SECONDS = 30.0
DEAF_SECONDS = 30.0
PRUNE_EVERY = 720
log = structlog.get_logger()

Start = Callable[[Connection], Awaitable[list[Message]]]
Sweep = Callable[[Connection], Awaitable[list[tuple[str, Message]]]]


class Consumer:
    """A service on the bus: pool, relay, subscribers and sweeper, from start to stop.

    `start` runs once in a transaction before anything is heard. `sweep` runs now and then and returns messages that its
    service's state says are unfinished, each with the queue it goes to ("" for whoever listens).
    """

    def __init__(
        self,
        service: str,
        routes: tuple[Route, ...],
        *,
        told: ServiceSettings,
        given: dict[Any, Any],
        sweep: Sweep,
        start: Start | None = None,
    ) -> None:
        self.service = service
        self.routes = routes
        self.publisher = Publisher(told.broker_url, service)
        self.deliveries: list[Delivery] = []
        self.stopping = asyncio.Event()
        """Set when the process is asked to end: whoever holds a request open lets it go."""
        self._told = told
        self._given = given
        self._sweep = sweep
        self._start = start
        self._pool: Pool | None = None
        self._relay: Relay | None = None
        self._hears = False
        self._resent: dict[UUID, float] = {}

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
            async with self._pool.acquire() as db, db.transaction():
                await outbox.insert_messages(db, await self._start(db))
        consuming, self.deliveries = broker.consumer(
            self.service, self._told.broker_url, self.routes, self._pool, self._relay, self._given
        )
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("relay", self._relay.run()),
                ("consume", self._consume(consuming)),
                ("sweep", self._sweep_forever()),
                ("watch", self._watch()),
            )
        ]
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
                    self._told.database_url,
                    name=f"millrace {self.service}",
                    connections=self._told.database_connections,
                )
            except (*AWAY, OSError) as error:
                log.warning("waiting for postgres", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _consume(self, consuming: RabbitBroker) -> None:
        """The robust connection comes back by itself once it has been there; until then this tries."""
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

    async def _sweep_forever(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            rounds += 1
            try:
                async with self.pool.acquire() as db, db.transaction():
                    found = await self._unanswered(db, await self._sweep(db))
                    for queue, message in found:
                        await outbox.insert_messages(db, [message], queue=queue)
                        metrics.RESENT.labels(message.name()).inc()
                        log.warning("sent again", message=message.name(), id=str(message.id), queue=queue)
                    if rounds % PRUNE_EVERY == 0:
                        await inbox.delete_old(db)
                if found:
                    self.relay.wake()
            except Exception as error:  # the next round sees the same state
                log.warning("sweep failed", error=repr(error), exc_info=error)

    async def _unanswered(self, db: Connection, found: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
        """Without what was given up, and without what was sent again a moment ago."""
        now = time.monotonic()
        self._resent = {number: at for number, at in self._resent.items() if now - at < RESEND_SECONDS}
        settled = await inbox.select_done(db, [message.id for _, message in found]) | self._resent.keys()
        fresh = [(queue, message) for queue, message in found if message.id not in settled]
        self._resent |= {message.id: now for _, message in fresh}
        return fresh

    async def _watch(self) -> None:
        """Gauges of queues and outbox; a process whose queue has lost its consumers ends, to be started afresh."""
        deaf: dict[str, float] = {}
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                async with self.pool.acquire() as db:
                    waiting, oldest = await outbox.select_backlog(db)
                metrics.OUTBOX_MESSAGES.set(waiting)
                metrics.OUTBOX_SECONDS.set(oldest)
                metrics.DEAD_LETTERS.set((await self.publisher.count(DEAD))[0])
                for queue in [route.queue(self.service) for route in self.routes]:
                    messages, consumers = await self.publisher.count(queue)
                    metrics.QUEUE_MESSAGES.labels(queue).set(messages)
                    metrics.QUEUE_CONSUMERS.labels(queue).set(consumers)
                    deaf[queue] = 0.0 if consumers or not self._hears else deaf.get(queue, 0.0) + WATCH_SECONDS
            except Exception as error:  # noqa: BLE001 - a server is away: its own part reports that
                log.debug("watch", error=repr(error))
                continue
            if any(seconds >= DEAF_SECONDS for seconds in deaf.values()):
                # faststream#2758: a connection can come back without its consumers.
                log.error("no consumers", queues=[queue for queue, seconds in deaf.items() if seconds])
                os._exit(1)


def _exit_on_bug(task: asyncio.Task[None]) -> None:
    """A background task never ends by itself except for the one that connects; dying loudly beats living deaf."""
    if not task.cancelled() and task.exception() is not None:
        log.error("background task died", task=task.get_name(), exc_info=task.exception())
        os._exit(1)


def operations_app(consumer: Consumer) -> Litestar:
    """The HTTP side of a service that has no other: health and metrics."""
    app = Litestar(operations.routes(consumer.check), lifespan=[consumer.running], openapi_config=None)
    app.state.consumer = consumer
    return app
