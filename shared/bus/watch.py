"""Keeps an eye on queues and outbox, for those who look at the metrics, and for the service itself."""

import asyncio

import structlog

from shared.bus import outbox
from shared.bus.publisher import Publisher
from shared.bus.topology import DEAD
from shared.db import Pool
from shared.telemetry import metrics

EVERY_SECONDS = 5.0
DEAF_SECONDS = 30.0
log = structlog.get_logger()


class NoConsumer(Exception):
    """A queue of ours has had no consumer for half a minute, though we are connected."""


async def watch(pool: Pool, publisher: Publisher, queues: list[str]) -> None:
    """Until cancelled. Raises Deaf: a connection can come back without its consumers (faststream#2758)."""
    deaf = dict.fromkeys(queues, 0.0)
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            counts = await _look(pool, publisher, queues)
        except Exception as error:  # noqa: BLE001 - a server is away: its own part reports that
            log.debug("watch", error=repr(error))
            continue
        for queue, consumers in counts.items():
            deaf[queue] = 0.0 if consumers else deaf[queue] + EVERY_SECONDS
        if max(deaf.values(), default=0.0) >= DEAF_SECONDS:
            raise NoConsumer(", ".join(queue for queue, seconds in deaf.items() if seconds))


async def _look(pool: Pool, publisher: Publisher, queues: list[str]) -> dict[str, int]:
    """Sets the gauges and returns the consumers of each queue."""
    async with pool.acquire() as db:
        waiting, oldest = await outbox.select_backlog(db)
    metrics.OUTBOX_MESSAGES.set(waiting)
    metrics.OUTBOX_SECONDS.set(oldest)
    metrics.DEAD_LETTERS.set((await publisher.count(DEAD))[0])
    counts = {}
    for queue in queues:
        messages, counts[queue] = await publisher.count(queue)
        metrics.QUEUE_MESSAGES.labels(queue).set(messages)
        metrics.QUEUE_CONSUMERS.labels(queue).set(counts[queue])
    return counts
