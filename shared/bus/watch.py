"""Measures outbox and queues."""

import aiormq

from shared.bus import dead_letters, outbox
from shared.bus.publisher import Publisher
from shared.db import Pool
from shared.telemetry import metrics

MISSING = aiormq.exceptions.ChannelNotFoundEntity


async def measure_outbox(pool: Pool) -> None:
    """Sets the gauges of the outbox."""
    async with pool.acquire() as db:
        waiting, oldest = await outbox.select_backlog(db)
        metrics.DEAD_LETTERS.set(await dead_letters.count_dead(db))
    metrics.OUTBOX_MESSAGES.set(waiting)
    metrics.OUTBOX_SECONDS.set(oldest)


async def measure_queues(publisher: Publisher, queues: list[str]) -> dict[str, int | None]:
    """Sets the gauges of the queues; returns each queue's number of consumers, or None if there is no such queue."""
    consumers: dict[str, int | None] = {}
    for queue in queues:
        counts = await _count(publisher, queue)
        consumers[queue] = counts and counts[1]
        messages, consuming = counts or (0, 0)
        metrics.QUEUE_MESSAGES.labels(queue).set(messages)
        metrics.QUEUE_CONSUMERS.labels(queue).set(consuming)
    return consumers


async def _count(publisher: Publisher, queue: str) -> tuple[int, int] | None:
    try:
        return await publisher.count(queue)
    except MISSING:
        return None
