"""Periodic tasks: work that a service does on its own, at an interval."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from shared.bus.relay import Relay
from shared.db import Pool

Work = Callable[[Pool], Awaitable[int]]
"""Does what is due and returns the number of messages written."""
log = structlog.get_logger()


class PeriodicTask(NamedTuple):
    """A task and the pause in seconds between the end of one run and the start of the next."""

    work: Work
    seconds: float

    @property
    def name(self) -> str:
        """The name of the task's module."""
        return self.work.__module__.rpartition(".")[2]

    async def run(self, pool: Pool, relay: Relay) -> None:
        """Runs until cancelled. A failed run loses nothing: the next one sees the same state."""
        while True:
            try:
                if await self.work(pool):
                    relay.wake()
            except Exception as error:
                log.warning("periodic task failed", task=self.name, error=repr(error), exc_info=error)
            # With jitter: replicas that started together do not stay in step, and share the work.
            await asyncio.sleep(self.seconds * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load only
