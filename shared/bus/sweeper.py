"""Sends again what a service's own state says is unfinished: the message was only a hint, and may be lost."""

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

EVERY_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
PRUNE_EVERY = 720
log = structlog.get_logger()

Sweep = Callable[[Connection], Awaitable[list[tuple[str, Message]]]]
"""Unfinished messages, each with the queue it goes to, or "" for whoever listens."""


class Sweeper:
    """Runs in every service. In a run without faults it has nothing to do."""

    def __init__(self, pool: Pool, relay: Relay, sweep: Sweep) -> None:
        self._pool = pool
        self._relay = relay
        self._sweep = sweep
        self._sent: dict[UUID, float] = {}

    async def run(self) -> None:
        """Until cancelled. A round that fails is no loss: the next one sees the same state."""
        rounds = 0
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            rounds += 1
            try:
                await self.round()
                if rounds % PRUNE_EVERY == 0:
                    async with self._pool.acquire() as db:
                        await inbox.delete_old(db)
            except Exception as error:
                log.warning("sweep failed", error=repr(error), exc_info=error)

    async def round(self) -> None:
        """One look at the state, in one transaction with what it sends."""
        async with transaction(self._pool) as db:
            found = await self._unanswered(db, await self._sweep(db))
            for queue, message in found:
                await outbox.insert_messages(db, [message], queue=queue)
        for queue, message in found:
            metrics.RESENT.labels(message.name()).inc()
            log.warning("sent again", message=message.name(), id=str(message.id), queue=queue)
        if found:
            self._relay.wake()

    async def _unanswered(self, db: Connection, found: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
        """Without what was given up, and without what was sent again a moment ago."""
        now = time.monotonic()
        self._sent = {number: at for number, at in self._sent.items() if now - at < PATIENCE_SECONDS}
        settled = await inbox.select_done(db, [message.id for _, message in found]) | self._sent.keys()
        fresh = [(queue, message) for queue, message in found if message.id not in settled]
        self._sent |= {message.id: now for _, message in fresh}
        return fresh
