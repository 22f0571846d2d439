"""Delivery of the messages of a queue in groups: what waits is taken at once, and acknowledged at once.

It consumes with aiormq: the layers above it cost as much for each message as the grouped work itself.
"""

import asyncio
import time
from collections import deque
from typing import Any

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from shared.bus import groups, received
from shared.bus.handling import Handling
from shared.bus.received import Received, Undecodable

MAX_BYTES = 1 << 20
MAX_ROWS = 5000
"""Limits of a group of more than one message: its locks are held, and its rows are in memory, until it commits."""
SLOW_SECONDS, QUICK_SECONDS = 0.25, 0.05
"""After a slower group the next one is half as large at most; after a quicker one, twice."""
RETRY_SECONDS = 1.0
log = structlog.get_logger()


class GroupDelivery:
    """Takes the deliveries of one queue, on a channel of its own, in their order."""

    def __init__(self, handling: Handling) -> None:
        self.queue = handling.queue
        self.running: set[asyncio.Task[Any]] = set()
        self._handling = handling
        self._most = self._limit = handling.route.together
        self._waiting: deque[tuple[DeliveredMessage, Received | Undecodable]] = deque()
        self._changed = asyncio.Event()
        """Set when a message arrives, and when there will be no more."""
        self._is_lost = False
        self.is_stopping = False

    async def run(self, connection: AbstractConnection) -> None:
        """Consumes until the connection is closed or `stop` is called; again, if the queue was deleted."""
        while not connection.is_closed and not self.is_stopping:
            try:
                channel = await self._consume(connection)
                await self._take_groups(channel)
                if not self.is_stopping:
                    await channel.close()
            except Exception as error:  # noqa: BLE001 - a connection that closes during a call raises almost anything
                log.warning("deliveries lost", queue=self.queue, error=repr(error))
            if not self.is_stopping:
                await asyncio.sleep(RETRY_SECONDS)

    def stop(self) -> None:
        """Takes no more groups. A running one is still acknowledged; the broker redelivers the others."""
        self.is_stopping = True
        self._changed.set()

    async def _consume(self, connection: AbstractConnection) -> AbstractChannel:
        self._waiting.clear()
        self._handling.held.clear()
        self._is_lost = False
        channel = await connection.channel()
        channel.on_consumer_cancel_callbacks.add(self._lose)  # the queue was deleted
        channel.closing.add_done_callback(self._lose)
        await channel.basic_qos(prefetch_count=2 * self._most)
        await channel.basic_consume(self.queue, self._receive)
        return channel

    def _lose(self, _: Any) -> None:
        self._is_lost = True
        self._changed.set()

    async def _receive(self, delivery: DeliveredMessage) -> None:
        headers: Any = delivery.header.properties.headers or {}
        redeliveries = int(headers.get("x-delivery-count") or 0)
        try:
            message: Received | Undecodable
            message = received.decode(delivery.body, self._handling.route.message, redeliveries)
            self._handling.held.add(message.message.id)
        except Undecodable as error:
            message = error
        self._waiting.append((delivery, message))
        self._changed.set()

    async def _take_groups(self, channel: AbstractChannel) -> None:
        while not self.is_stopping and not self._is_lost:
            self._changed.clear()
            if not self._waiting:
                await self._changed.wait()
                continue
            task = asyncio.create_task(self._handle(channel, self._take()), name=self.queue)
            self.running.add(task)
            task.add_done_callback(self.running.discard)
            last = await asyncio.shield(task)
            if last is not None:
                await channel.basic_ack(last, multiple=True, wait=False)

    def _take(self) -> list[tuple[DeliveredMessage, Received | Undecodable]]:
        """Takes what waits already, within the limits, and at least one message."""
        group = [self._waiting.popleft()]
        size, rows = _measure(group[0])
        while self._waiting and len(group) < self._limit:
            more_size, more_rows = _measure(self._waiting[0])
            size, rows = size + more_size, rows + more_rows
            if size > MAX_BYTES or rows > MAX_ROWS:
                break
            group.append(self._waiting.popleft())
        return group

    async def _handle(
        self, channel: AbstractChannel, group: list[tuple[DeliveredMessage, Received | Undecodable]]
    ) -> int | None:
        """Returns the delivery tag up to which everything has ended, or None if there is nothing to acknowledge."""
        began = time.monotonic()
        last = None
        messages = []
        for delivery, message in group:
            tag = delivery.delivery_tag
            if isinstance(message, Received):
                messages.append(message)
            elif not await self._handling.give_up_undecodable(message):
                await channel.basic_reject(tag or 0, requeue=False)
                continue
            last = tag
        if messages:
            await groups.handle(self._handling, messages)
            self._handling.held.difference_update(message.message.id for message in messages)
        self._adapt(time.monotonic() - began, len(group))
        return last

    def _adapt(self, seconds: float, size: int) -> None:
        if seconds > SLOW_SECONDS:
            self._limit = max(1, size // 2)
        elif seconds < QUICK_SECONDS:
            self._limit = min(self._most, 2 * self._limit)


def _measure(item: tuple[DeliveredMessage, Received | Undecodable]) -> tuple[int, int]:
    """Returns bytes and rows of a message."""
    delivery, message = item
    return len(delivery.body), message.message.row_count if isinstance(message, Received) else 0
