"""Outbox relay: publishes due messages after each commit, and polls for messages that a crash left behind."""

import asyncio
from collections import Counter

import aiormq
import structlog

from shared.bus import dead_letters, failures, outbox
from shared.bus.outbox import OutboxMessage
from shared.bus.publisher import Publisher, Refused, TooLarge, Unroutable
from shared.db import Connection, Pool, transaction
from shared.db.faults import INTERFACE_ERRORS, SERVER_ERRORS, UNAVAILABLE
from shared.telemetry import metrics

POLL_SECONDS = 0.5
BATCH = 500
BATCH_BYTES = 8 << 20
"""Bytes of messages in a round, but at least one message: they are in memory at once."""
UNROUTABLE_SECONDS = 5.0
REFUSED_SECONDS = (1.0, 30.0)
"""The shortest and the longest pause before a refused message is sent again."""
ERROR_SECONDS = 1.0
log = structlog.get_logger()


class Relay:
    """Publishes a service's outbox. Several relays may run at once: each locks the messages that it publishes."""

    def __init__(self, pool: Pool, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher
        self._wake = asyncio.Event()
        self.state = "ok"
        """Or the error that the relay waits for."""

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
                while not self._publisher.is_reconnecting and await self.publish_batch():
                    pass
                self.state = "ok"
            except (
                *UNAVAILABLE,
                *INTERFACE_ERRORS,
                *SERVER_ERRORS,
                TimeoutError,
                aiormq.exceptions.AMQPError,
            ) as error:
                self.state = f"{type(error).__name__}: {error}"
                log.warning("relay waits", error=repr(error))
                await asyncio.sleep(ERROR_SECONDS)

    async def publish_batch(self) -> bool:
        """Publishes a batch of due messages; returns whether more may be due.

        A message that the broker does not take is postponed alone. One that no broker may take becomes a dead letter.
        A crash between confirm and commit publishes the batch twice: the receivers' inboxes deduplicate.
        """
        async with transaction(self._pool) as db:
            messages = await outbox.select_due(db, BATCH, BATCH_BYTES)
            if not messages:
                return False
            results = await self._publisher.publish(messages)
            outcome = list(zip(messages, results, strict=True))
            sent = [message for message, result in outcome if result is None]
            await outbox.record_sent(db, sent)
            await _postpone(db, outcome)
            for message, result in outcome:
                if isinstance(result, TooLarge):
                    await _give_up(db, message, result)
        _report(outcome)
        for result in results:
            if result is not None and not isinstance(result, Unroutable | Refused | TooLarge):
                raise result
        return len(messages) == BATCH or sum(len(message.data) for message in messages) >= BATCH_BYTES


async def _postpone(db: Connection, outcome: list[tuple[OutboxMessage, Exception | None]]) -> None:
    pauses = {
        (message.id, message.queue): UNROUTABLE_SECONDS
        if isinstance(result, Unroutable)
        else failures.pause(message.created_at, REFUSED_SECONDS)
        for message, result in outcome
        if isinstance(result, Unroutable | Refused)
    }
    if pauses:
        await outbox.postpone(db, pauses)


async def _give_up(db: Connection, message: OutboxMessage, error: TooLarge) -> None:
    """Takes the message out of the outbox, to this service's dead letters, and fails its job."""
    await outbox.delete_message(db, message)
    letter = dead_letters.from_outbox(message, reason="too_large", problem=failures.too_large(error))
    await dead_letters.give_up(db, letter)


def _report(outcome: list[tuple[OutboxMessage, Exception | None]]) -> None:
    for name, count in Counter(message.name for message, result in outcome if result is None).items():
        metrics.PUBLISHED.labels(name).inc(count)
    for message, result in outcome:
        match result:
            case Unroutable():
                metrics.UNROUTABLE.labels(message.name).inc()
                log.error("unroutable", message=message.name, queue=message.queue, id=str(message.id))
            case Refused():
                metrics.REFUSED.labels(message.name).inc()
                log.warning("refused", message=message.name, queue=message.queue, id=str(message.id))
            case TooLarge():
                log.error("gave up", reason="too_large", message=message.name, id=str(message.id), error=str(result))
