"""Subscriptions of a service: declares its queues, consumes them, and begins again when they have no consumer."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog
from faststream.rabbit import RabbitBroker

from shared.bus import broker, topology, watch
from shared.bus.dead_queue import DeadQueue
from shared.bus.delivery import Delivery
from shared.bus.group_connection import GroupConnection
from shared.bus.group_delivery import GroupDelivery
from shared.bus.publisher import Publisher
from shared.bus.routes import Route
from shared.bus.topology import DEAD
from shared.db import Pool

DRAIN_SECONDS = 6.0
"""How long handlers may go on after SIGTERM. Their transactions are then rolled back, within ROLLBACK_SECONDS."""
ROLLBACK_SECONDS = 1.0
INTERVAL_SECONDS = 5.0
RETRY_SECONDS = 1.0
DEAF_SECONDS = 10.0
"""How long a connection may take to recover its consumers by itself, before another one takes its place."""
log = structlog.get_logger()


class Subscriptions:
    """Keeps every queue of a service consumed, whatever happens to the broker."""

    def __init__(
        self,
        service: str,
        url: str,
        routes: tuple[Route, ...],
        deliveries: Sequence[Delivery | DeadQueue],
        group_deliveries: Sequence[GroupDelivery],
        publisher: Publisher,
        pool: Pool,
    ) -> None:
        self._service = service
        self._url = url
        self._routes = routes
        self._deliveries = deliveries
        self._group_deliveries = group_deliveries
        self._publisher = publisher
        self._pool = pool
        self._broker: RabbitBroker | None = None
        self._groups: GroupConnection | None = None
        self._is_consuming = False
        self._silent: list[str] = []

    @property
    def state(self) -> str:
        """`ok`, `away`, or the queues that had no consumer at the last look."""
        if not self._is_consuming or not self._publisher.is_connected:
            return "away"
        return f"no consumers: {', '.join(self._silent)}" if self._silent else "ok"

    async def run(self) -> None:
        """Consumes until cancelled."""
        while True:
            await self._start()
            await self._watch()
            await self.close()

    async def stop(self) -> None:
        """Takes no more messages, waits DRAIN_SECONDS for running handlers, and hands back what they leave."""
        if self._groups is not None:
            self._groups.stop()
        if self._broker is not None:
            await broker.cancel_consumers(self._broker)
        deliveries = (*self._deliveries, *self._group_deliveries)
        if running := {task for delivery in deliveries for task in delivery.running}:
            _, pending = await asyncio.wait(running, timeout=DRAIN_SECONDS)
            for task in pending:
                log.warning("handed back", queue=task.get_name())
                task.cancel()
            if pending:
                await asyncio.wait(pending, timeout=ROLLBACK_SECONDS)

    async def _start(self) -> None:
        """Declares the queues and consumes them; repeats that until the broker is there.

        A robust connection reconnects only after it was connected once.
        """
        while True:
            try:
                await self._declare()
                self._broker = broker.build_broker(self._url, self._deliveries)
                await self._broker.start()
                if self._group_deliveries:
                    self._groups = GroupConnection(self._url, self._group_deliveries)
                    await self._groups.start()
                await self._publisher.channel()
            except Exception as error:  # noqa: BLE001 - a connection that closes during a call raises almost anything
                log.warning("waiting for rabbitmq", error=repr(error))
                await self.close()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._is_consuming, self._silent = True, []
                log.info("consuming", queues=self._queues())
                return

    async def close(self) -> None:
        """Closes the connection; RabbitMQ redelivers what is not acknowledged."""
        if self._groups is not None:
            await self._groups.close()
        if self._broker is not None:
            await broker.close(self._broker)
        self._broker, self._groups, self._is_consuming = None, None, False

    def _queues(self) -> list[str]:
        return list(dict.fromkeys(delivery.queue for delivery in (*self._deliveries, *self._group_deliveries)))

    async def _declare(self) -> None:
        await topology.declare(self._url, {self._service: self._routes})

    async def _watch(self) -> None:
        """Looks at the queues, and declares them after an outage. Returns when a queue stays without consumers.

        A broker that has lost its disk has lost its queues, and a connection can recover without its consumers
        (faststream#2758).
        """
        away, heard_at, undrained = False, time.monotonic(), 0
        while True:
            await asyncio.sleep(RETRY_SECONDS if away or self._silent else INTERVAL_SECONDS)
            with contextlib.suppress(Exception):  # Postgres is unavailable: the relay reports that
                await watch.measure_outbox(self._pool, undrained)
            try:
                counts = await watch.measure_queues(self._publisher, self._queues())
                missing = [queue for queue, count in counts.items() if count is None]
                self._silent = [queue for queue, count in counts.items() if count is None or not count[1]]
                undrained, _ = counts.get(DEAD) or (0, 0)
                if missing or away:
                    log.warning("declaring queues", missing=missing)
                    await self._declare()
                away = False
            except Exception as error:  # noqa: BLE001 - as above
                log.debug("watch", error=repr(error))
                away, heard_at = True, time.monotonic()
                continue
            if not self._silent:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > DEAF_SECONDS:
                log.error("no consumers", queues=self._silent)
                return
