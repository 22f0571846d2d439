"""Delivery of the messages of a queue one by one: decodes, handles and acknowledges each."""

import asyncio
import contextlib

import structlog
from faststream.rabbit import RabbitMessage

from shared.bus import received
from shared.bus.handling import UNAVAILABLE_SECONDS, Handling
from shared.bus.received import Undecodable

log = structlog.get_logger()


class Delivery:
    """Takes the deliveries of one queue, up to the route's concurrency at once."""

    def __init__(self, handling: Handling) -> None:
        self.queue = handling.queue
        self.concurrency = handling.route.concurrency
        self.running: set[asyncio.Task[None]] = set()
        self._handling = handling

    async def receive(self, delivery: RabbitMessage) -> None:
        """Processes a delivery in its own task: aiormq cancels this coroutine when the connection is lost."""
        task = asyncio.create_task(self._run(delivery), name=self.queue)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        await asyncio.shield(task)

    async def _run(self, delivery: RabbitMessage) -> None:
        try:
            await self._process(delivery)
        except Exception as error:  # usually the channel closed before the acknowledgement: the broker redelivers
            log.warning("delivery lost", queue=self.queue, error=repr(error), exc_info=error)
            await asyncio.sleep(UNAVAILABLE_SECONDS)
            with contextlib.suppress(Exception):
                await delivery.nack(requeue=True)

    async def _process(self, delivery: RabbitMessage) -> None:
        redeliveries = int(delivery.headers.get("x-delivery-count") or 0)
        try:
            message = received.decode(delivery.body, self._handling.route.message, redeliveries)
        except Undecodable as error:
            if not await self._handling.give_up_undecodable(error):
                await delivery.reject(requeue=False)
                return
        else:
            await self._handling.handle_counted(message)
        await delivery.ack()
