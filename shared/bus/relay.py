"""Carries the outbox to the broker: woken after each commit, and by a poll for whatever a crash left behind."""

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
    """Runs in every service; any number may run at once, since letters are locked while they are sent."""

    def __init__(self, pool: Pool, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Call after a commit that wrote letters."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                while await self.carry() == BATCH:
                    pass
            except (*UNAVAILABLE, *INTERFACE_ERRORS, TimeoutError, aiormq.exceptions.AMQPError) as error:
                log.warning("relay waits", error=repr(error))
                await asyncio.sleep(1)

    async def carry(self) -> int:
        """One batch, from the outbox to the broker; returns how many letters were confirmed.

        A crash between confirm and commit sends the batch twice: the inbox of who hears it absorbs that.
        """
        async with transaction(self._pool) as db:
            letters = await outbox.select_due(db, BATCH)
            if not letters:
                return 0
            results = await asyncio.gather(*map(self._publisher.publish, letters), return_exceptions=True)
            outcome = list(zip(letters, results, strict=True))
            sent = [letter for letter, result in outcome if result is None]
            lost = [letter for letter, result in outcome if isinstance(result, Unroutable)]
            await outbox.delete_sent(db, sent)
            if lost:
                await outbox.postpone(db, lost, seconds=UNROUTABLE_SECONDS)
        _tell(sent, lost)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Unroutable):
                raise result
        return len(sent)


def _tell(sent: list[OutboxMessage], lost: list[OutboxMessage]) -> None:
    for letter in sent:
        metrics.PUBLISHED.labels(letter.name).inc()
    for letter in lost:
        metrics.UNROUTABLE.labels(letter.name).inc()
        log.error("unroutable", message=letter.name, queue=letter.queue, id=str(letter.id))
