"""What a service does of its own accord, every so often: a look at its state, and whatever follows from that."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from shared.bus.relay import Relay
from shared.db import Pool

Look = Callable[[Pool], Awaitable[int]]
"""Does what is due; returns how many messages it has written."""
log = structlog.get_logger()


class Clock(NamedTuple):
    """A look, and the seconds from the end of one to the next."""

    look: Look
    seconds: float

    @property
    def name(self) -> str:
        """Of the module that looks."""
        return self.look.__module__.rpartition(".")[2]

    async def run(self, pool: Pool, relay: Relay) -> None:
        """Until cancelled. A look that fails is no loss: the next one sees the same state."""
        while True:
            try:
                if await self.look(pool):
                    relay.wake()
            except Exception as error:
                log.warning("look failed", clock=self.name, error=repr(error), exc_info=error)
            await asyncio.sleep(self.seconds)
