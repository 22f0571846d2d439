"""Sweeper: resends the messages of work that, by the service's own tables, is unfinished."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from shared.bus import inbox, outbox
from shared.bus.relay import Relay
from shared.contracts.message import Message
from shared.db import Connection, Pool, transaction
from shared.telemetry import metrics

INTERVAL_SECONDS = 5.0
RESEND_SECONDS = 30.0
PRUNE_INTERVAL = 720
"""Sweeps between two prunings of the inbox."""
log = structlog.get_logger()

Sweep = Callable[[Connection], Awaitable[list[tuple[str, Message]]]]
"""Returns the messages of unfinished work, each with its queue, or "" to route it by its name."""


class Sweeper:
    """Resends lost messages. Without faults it finds none."""

    def __init__(self, pool: Pool, relay: Relay, sweep: Sweep) -> None:
        self._pool = pool
        self._relay = relay
        self._find_unfinished = sweep
        self._sent: dict[UUID, float] = {}

    async def run(self) -> None:
        """Runs until cancelled. A failed sweep loses nothing: the next one sees the same state."""
        sweeps = 0
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            sweeps += 1
            try:
                await self.sweep()
                if sweeps % PRUNE_INTERVAL == 0:
                    async with self._pool.acquire() as db:
                        await inbox.delete_old(db)
            except Exception as error:
                log.warning("sweep failed", error=repr(error), exc_info=error)

    async def sweep(self) -> None:
        """Reads the unfinished work and writes its messages to the outbox, in one transaction."""
        async with transaction(self._pool) as db:
            lost = await self._select_lost(db, await self._find_unfinished(db))
            for queue, message in lost:
                await outbox.insert_messages(db, [message], queue=queue)
        for queue, message in lost:
            metrics.RESENT.labels(message.name()).inc()
            log.warning("message resent", message=message.name(), id=str(message.id), queue=queue)
        if lost:
            self._relay.wake()

    async def _select_lost(self, db: Connection, unfinished: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
        """Returns the messages that are not given up and not resent within RESEND_SECONDS."""
        now = time.monotonic()
        self._sent = {id_: sent_at for id_, sent_at in self._sent.items() if now - sent_at < RESEND_SECONDS}
        settled = await inbox.select_done(db, [message.id for _, message in unfinished]) | self._sent.keys()
        lost = [(queue, message) for queue, message in unfinished if message.id not in settled]
        self._sent |= {message.id: now for _, message in lost}
        return lost
