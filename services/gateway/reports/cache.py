"""LRU cache of rendered reports. Concurrent requests for the same report share one computation (single-flight)."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

import msgspec

from services.gateway.reports.freshness import Freshness

MAX_BYTES = 16 << 20
MAX_COMPUTATIONS = 4
"""Each needs a database connection."""
ENTRY_BYTES = 1 << 10
"""The size of an entry without its body."""


class RenderedReport(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a response and its ETag, as of `freshness`.

    The body of JSON and SVG has no end: each response appends its freshness.
    """

    body: bytes
    tag: str
    freshness: Freshness


class ReportCache:
    """Evicts the least recently used reports when it is full."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._reports: OrderedDict[Hashable, RenderedReport] = OrderedDict()
        self._slots = asyncio.Semaphore(MAX_COMPUTATIONS)
        self._flights: dict[Hashable, asyncio.Task[RenderedReport]] = {}

    async def get(
        self, report: Hashable, freshness: Freshness, compute: Callable[[], Awaitable[RenderedReport]]
    ) -> tuple[RenderedReport, Freshness]:
        """Returns a report and its freshness, cached or computed; `report` identifies what is computed."""
        key = (report, freshness.key)
        if (cached := self._reports.get(key)) is not None:
            self._reports.move_to_end(key)
            return cached, freshness
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._compute(report, compute), name="report")
            flight.add_done_callback(lambda task: self._land(key, task))
        # A client that disconnects must not cancel the computation for the others.
        rendered = await asyncio.shield(flight)
        return rendered, rendered.freshness

    async def _compute(self, report: Hashable, compute: Callable[[], Awaitable[RenderedReport]]) -> RenderedReport:
        """Computes and stores a report under its own freshness, which may be newer than the requested one."""
        async with self._slots:
            rendered = await compute()
        self._store((report, rendered.freshness.key), rendered)
        return rendered

    def _land(self, key: Hashable, flight: asyncio.Task[RenderedReport]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # marks the exception as retrieved: all clients may have disconnected

    def _store(self, key: Hashable, rendered: RenderedReport) -> None:
        if (replaced := self._reports.pop(key, None)) is not None:
            self.size -= len(replaced.body) + ENTRY_BYTES
        if len(rendered.body) + ENTRY_BYTES > self._max_bytes:
            return
        self._reports[key] = rendered
        self.size += len(rendered.body) + ENTRY_BYTES
        while self.size > self._max_bytes:
            _, oldest = self._reports.popitem(last=False)
            self.size -= len(oldest.body) + ENTRY_BYTES
