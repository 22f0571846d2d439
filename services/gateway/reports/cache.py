"""Answers that were given and are still right: what many ask for is computed once, and kept while there is room."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

import msgspec

from services.gateway.reports.freshness import Fresh

MOST_BYTES = 16 << 20
AT_ONCE = 4
"""Computations, each on a connection that others need too."""
ENTRY_BYTES = 1 << 10
"""What an answer takes besides its body."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A body and its tag, of the moment of `fresh`. Of JSON and SVG, `body` has no end yet: how fresh it is follows."""

    body: bytes
    tag: str
    fresh: Fresh


class Kept:
    """Of the answers that were not asked for the longest, as many go as are too many."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.size = 0
        self._most = most_bytes
        self._answers: OrderedDict[Hashable, Rendered] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._flights: dict[Hashable, asyncio.Task[Rendered]] = {}

    async def find(
        self, about: Hashable, fresh: Fresh, compute: Callable[[], Awaitable[Rendered]]
    ) -> tuple[Rendered, Fresh]:
        """What answers `about`, and how fresh that is: kept, or computed once for all who ask meanwhile."""
        key = (about, fresh.key)
        if (kept := self._answers.get(key)) is not None:
            self._answers.move_to_end(key)
            return kept, fresh
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._computed(about, compute), name="report")
            flight.add_done_callback(lambda ended: self._landed(key, ended))
        # Whoever goes away must not take the answer from the others.
        found = await asyncio.shield(flight)
        return found, found.fresh

    async def _computed(self, about: Hashable, compute: Callable[[], Awaitable[Rendered]]) -> Rendered:
        """Its snapshot may be newer than what was asked for: it is kept as what it is."""
        async with self._turns:
            found = await compute()
        self._keep((about, found.fresh.key), found)
        return found

    def _landed(self, key: Hashable, flight: asyncio.Task[Rendered]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # everybody may have gone who would have been told

    def _keep(self, key: Hashable, one: Rendered) -> None:
        if (before := self._answers.pop(key, None)) is not None:
            self.size -= len(before.body) + ENTRY_BYTES
        if len(one.body) + ENTRY_BYTES > self._most:
            return
        self._answers[key] = one
        self.size += len(one.body) + ENTRY_BYTES
        while self.size > self._most:
            _, oldest = self._answers.popitem(last=False)
            self.size -= len(oldest.body) + ENTRY_BYTES
