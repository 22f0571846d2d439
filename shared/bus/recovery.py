"""Recovery: finds messages that were lost on their way to this service, and sends them again.

A message is lost if it is open, nobody handles it, it waits for no retry, and it has been overtaken: a message that was
sent later to the same queue has ended some time ago, or the queue is empty. Without faults there is none.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Sequence

import structlog

from shared.bus import ledger
from shared.bus.handling import Handling
from shared.bus.ledger import Lane, OpenMessage
from shared.bus.publisher import Publisher
from shared.bus.relay import Relay
from shared.db import Connection, Pool, transaction
from shared.db.locks import try_lock
from shared.telemetry import metrics

INTERVAL_SECONDS = 5.0
OVERTAKEN_SECONDS = 20.0
SLACK = dt.timedelta(seconds=2)
"""Two relays may send in another order than that of `sent_at`."""
LIMIT = 1000
"""Messages in one look: each costs a try of its lease, about a millisecond."""
MAX_LOAD = 0.02
"""Share of its time that the cleanup may take."""
log = structlog.get_logger()


class Recovery:
    """Recovers the messages to a service, and deletes ended ones of its own; one replica at a time."""

    def __init__(
        self, service: str, pool: Pool, relay: Relay, publisher: Publisher, handlings: Sequence[Handling]
    ) -> None:
        self._service = service
        self._pool = pool
        self._relay = relay
        self._publisher = publisher
        self._handlings = {(handling.name, handling.lane): handling for handling in handlings}

    async def run(self) -> None:
        """Runs until cancelled. A failed look loses nothing: the next one sees the same state."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.look()
            except Exception as error:
                log.warning("recovery failed", error=repr(error), exc_info=error)

    async def clean_up(self) -> None:
        """Deletes ended messages until cancelled."""
        while True:
            began = time.monotonic()
            try:
                async with transaction(self._pool) as db:
                    if await try_lock(db, ledger.CLEANUP_LOCK, self._service):
                        await ledger.delete_ended(db, self._service)
            except Exception as error:
                log.warning("cleanup failed", error=repr(error), exc_info=error)
            await asyncio.sleep(max(1.0, (time.monotonic() - began) / MAX_LOAD))

    async def look(self) -> list[OpenMessage]:
        """Sends lost messages again, in one transaction, and returns them."""
        async with transaction(self._pool) as db:
            if not await try_lock(db, ledger.RECOVERY_LOCK, self._service):
                return []
            passed = await self._find_passed(db)
            overtaken = await ledger.select_overtaken(db, self._service, passed, limit=LIMIT) if passed else []
            free = [one for one in overtaken if one.id not in self._handlings[one.name, one.lane].held]
            lost = [message for message in free if not await ledger.is_leased(db, message)]
            for message in lost:
                await ledger.insert_resend(db, message, self._handlings[message.name, message.lane].queue)
        for message in lost:
            metrics.RESENT.labels(message.name).inc()
            log.warning("message resent", message=message.name, id=str(message.id), job=message.subject)
        if lost:
            self._relay.wake()
        return lost

    async def _find_passed(self, db: Connection) -> dict[Lane, dt.datetime]:
        """Returns, by lane, the time of sending up to which the queue has handed out everything."""
        passed = {}
        for lane, handling in self._handlings.items():
            if (sent_at := handling.progress.passed(OVERTAKEN_SECONDS)) is not None:
                passed[lane] = sent_at - SLACK
        now: dt.datetime = await db.fetchval("SELECT now()")
        idle = [lane for lane, handling in self._handlings.items() if handling.progress.is_idle(OVERTAKEN_SECONDS)]
        for lane in await ledger.select_waiting(db, self._service, idle, seconds=OVERTAKEN_SECONDS):
            waiting, _ = await self._publisher.count(self._handlings[lane].queue)
            if not waiting:
                passed[lane] = now - dt.timedelta(seconds=OVERTAKEN_SECONDS)
        return passed
