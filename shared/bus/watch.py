"""Measures outbox and queues."""

import aiormq

from shared.bus import dead_letters, outbox
from shared.bus.publisher import Publisher
from shared.db import Pool
from shared.telemetry import metrics

MISSING = aiormq.exceptions.ChannelNotFoundEntity


async def measure_outbox(pool: Pool, undrained: int) -> None:
    """Sets the gauges of the outbox and of dead letters; `undrained` are those in the broker's dead queue."""
    async with pool.acquire() as db:
        waiting, oldest = await outbox.select_backlog(db)
        metrics.DEAD_LETTERS.set(await dead_letters.count_dead(db) + undrained)
    metrics.OUTBOX_MESSAGES.set(waiting)
    metrics.OUTBOX_SECONDS.set(oldest)


async def measure_queues(publisher: Publisher, queues: list[str]) -> dict[str, tuple[int, int] | None]:
    """Sets the gauges of the queues; returns messages and consumers of each, or None if there is no such queue."""
    counts: dict[str, tuple[int, int] | None] = {}
    for queue in queues:
        counts[queue] = await _count(publisher, queue)
        messages, consumers = counts[queue] or (0, 0)
        metrics.QUEUE_MESSAGES.labels(queue).set(messages)
        metrics.QUEUE_CONSUMERS.labels(queue).set(consumers)
    return counts


async def _count(publisher: Publisher, queue: str) -> tuple[int, int] | None:
    try:
        return await publisher.count(queue)
    except MISSING:
        return None
