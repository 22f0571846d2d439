"""Outbox relay: publishes due messages after each commit, and polls for messages that a crash left behind."""

import asyncio

import aiormq
import structlog

from shared.bus import outbox
from shared.bus.outbox import OutboxMessage
from shared.bus.publisher import Publisher, Unroutable
from shared.db import Pool, transaction
from shared.db.faults import INTERFACE_ERRORS, UNAVAILABLE
from shared.telemetry import metrics

POLL_SECONDS = 0.5
BATCH = 500
UNROUTABLE_SECONDS = 5.0
log = structlog.get_logger()


class Relay:
    """Publishes a service's outbox. Several relays may run at once: each locks the messages that it publishes."""

    def __init__(self, pool: Pool, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Publishes soon. Call it after a commit that wrote messages."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                while await self.publish_batch() == BATCH:
                    pass
            except (*UNAVAILABLE, *INTERFACE_ERRORS, TimeoutError, aiormq.exceptions.AMQPError) as error:
                log.warning("relay waits", error=repr(error))
                await asyncio.sleep(1)

    async def publish_batch(self) -> int:
        """Publishes a batch of due messages and returns how many the broker confirmed.

        A crash between confirm and commit publishes the batch twice: the receivers' inboxes deduplicate.
        """
        async with transaction(self._pool) as db:
            messages = await outbox.select_due(db, BATCH)
            if not messages:
                return 0
            results = await asyncio.gather(*map(self._publisher.publish, messages), return_exceptions=True)
            outcome = list(zip(messages, results, strict=True))
            sent = [message for message, result in outcome if result is None]
            unroutable = [message for message, result in outcome if isinstance(result, Unroutable)]
            await outbox.record_sent(db, sent)
            if unroutable:
                await outbox.postpone(db, unroutable, seconds=UNROUTABLE_SECONDS)
        _report(sent, unroutable)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Unroutable):
                raise result
        return len(sent)


def _report(sent: list[OutboxMessage], unroutable: list[OutboxMessage]) -> None:
    for message in sent:
        metrics.PUBLISHED.labels(message.name).inc()
    for message in unroutable:
        metrics.UNROUTABLE.labels(message.name).inc()
        log.error("unroutable", message=message.name, queue=message.queue, id=str(message.id))
