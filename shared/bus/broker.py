"""Consuming connection to RabbitMQ: each route has its own subscriber, channel and prefetch limit."""

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


def build_broker(
    service: str, url: str, routes: tuple[Route, ...], pool: Pool, relay: Relay, dependencies: Mapping[Any, Any]
) -> tuple[RabbitBroker, list[Delivery]]:
    """Returns a broker that is not started yet, and the delivery handler of each route."""
    # `Delivery` parses, acknowledges and retries for every route, so FastStream's own ways of doing so are off.
    broker = RabbitBroker(
        url,
        reconnect_interval=1,
        graceful_timeout=GRACE_SECONDS,
        apply_types=False,
        decoder=_pass_through,
        logger=None,
    )
    deliveries = []
    suspects = asyncio.Lock()
    for route in routes:
        delivery = Delivery(service, route, pool, relay, dependencies, suspects)
        queue = RabbitQueue(route.queue(service), queue_type=QueueType.QUORUM, durable=True, declare=False)
        broker.subscriber(
            queue, channel=Channel(prefetch_count=route.concurrency), ack_policy=AckPolicy.MANUAL, no_reply=True
        )(delivery.receive)
        deliveries.append(delivery)
    return broker, deliveries


async def stop(broker: RabbitBroker, deliveries: list[Delivery]) -> None:
    """Stops consuming and waits up to GRACE_SECONDS for running handlers. The broker redelivers what they leave."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            for subscriber in broker.subscribers:
                await subscriber.stop()
    except Exception as error:  # noqa: BLE001 - the broker may be gone, and its connection in any state
        log.warning("broker did not stop cleanly", error=repr(error))
    running = {task for delivery in deliveries for task in delivery.running}
    if running:
        _, pending = await asyncio.wait(running, timeout=GRACE_SECONDS)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _pass_through(message: RabbitMessage) -> RabbitMessage:
    """Returns the message itself: FastStream passes the decoder's result on, and the handler must acknowledge it."""
    return message
