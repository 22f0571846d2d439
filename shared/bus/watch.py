"""Measures queues and outbox, and notices a service that is connected but consumes nothing."""

import asyncio

import structlog

from shared.bus import dead_letters, outbox
from shared.bus.publisher import Publisher
from shared.db import Pool
from shared.telemetry import metrics

INTERVAL_SECONDS = 5.0
NO_CONSUMER_SECONDS = 30.0
log = structlog.get_logger()


class NoConsumer(Exception):
    """A queue of the service has had no consumer for half a minute, although the broker is reachable."""


async def watch(pool: Pool, publisher: Publisher, queues: list[str]) -> None:
    """Runs until cancelled. Raises NoConsumer: a connection can recover without its consumers (faststream#2758)."""
    seconds_without = dict.fromkeys(queues, 0.0)
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            counts = await _measure(pool, publisher, queues)
        except Exception as error:  # noqa: BLE001 - a server is unavailable: relay and consumer report that
            log.debug("watch", error=repr(error))
            continue
        for queue, consumers in counts.items():
            seconds_without[queue] = 0.0 if consumers else seconds_without[queue] + INTERVAL_SECONDS
        if max(seconds_without.values(), default=0.0) >= NO_CONSUMER_SECONDS:
            raise NoConsumer(", ".join(queue for queue, seconds in seconds_without.items() if seconds))


async def _measure(pool: Pool, publisher: Publisher, queues: list[str]) -> dict[str, int]:
    """Sets the gauges and returns the number of consumers of each queue."""
    async with pool.acquire() as db:
        waiting, oldest = await outbox.select_backlog(db)
        metrics.DEAD_LETTERS.set(await dead_letters.count_dead(db))
    metrics.OUTBOX_MESSAGES.set(waiting)
    metrics.OUTBOX_SECONDS.set(oldest)
    counts = {}
    for queue in queues:
        messages, counts[queue] = await publisher.count(queue)
        metrics.QUEUE_MESSAGES.labels(queue).set(messages)
        metrics.QUEUE_CONSUMERS.labels(queue).set(counts[queue])
    return counts
