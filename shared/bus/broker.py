"""The connection that consumes: a subscriber with a channel and a prefetch of its own for each route."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from shared.bus.delivery import Delivery
from shared.bus.relay import Relay
from shared.bus.routes import Route
from shared.db import Pool

GRACE_SECONDS = 10.0
log = structlog.get_logger()


def consumer(
    service: str, url: str, routes: tuple[Route, ...], pool: Pool, relay: Relay, dependencies: Mapping[Any, Any]
) -> tuple[RabbitBroker, list[Delivery]]:
    """A broker that is not started yet, and what takes its deliveries."""
    # FastStream's own acknowledgements, retries and parsing are all off: `Delivery` does these once, for every handler.
    broker = RabbitBroker(
        url,
        reconnect_interval=1,
        graceful_timeout=GRACE_SECONDS,
        apply_types=False,
        decoder=_untouched,
        logger=None,
    )
    deliveries = []
    for route in routes:
        delivery = Delivery(service, route, pool, relay, dependencies)
        queue = RabbitQueue(route.queue(service), queue_type=QueueType.QUORUM, durable=True, declare=False)
        broker.subscriber(
            queue, channel=Channel(prefetch_count=route.at_once), ack_policy=AckPolicy.MANUAL, no_reply=True
        )(delivery.take)
        deliveries.append(delivery)
    return broker, deliveries


async def stop(broker: RabbitBroker, deliveries: list[Delivery]) -> None:
    """No new deliveries, then the ones under way get their time; what is left is delivered again to someone else."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            for subscriber in broker.subscribers:
                await subscriber.stop()
    except Exception as error:  # noqa: BLE001 - the broker may be gone, and its connection in any state
        log.warning("broker did not stop cleanly", error=repr(error))
    under_way = {task for delivery in deliveries for task in delivery.under_way}
    if under_way:
        _, pending = await asyncio.wait(under_way, timeout=GRACE_SECONDS)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _untouched(message: RabbitMessage) -> RabbitMessage:
    """FastStream hands on what its decoder returns: here the message itself, so that it can be acknowledged."""
    return message
