"""Consuming connection to RabbitMQ: each queue has its own subscriber, channel and prefetch limit."""

import asyncio
from collections.abc import Iterable

import structlog
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from shared.bus.dead_queue import DeadQueue
from shared.bus.delivery import Delivery

CLOSE_SECONDS = 2.0
log = structlog.get_logger()


def build_broker(url: str, deliveries: Iterable[Delivery | DeadQueue]) -> RabbitBroker:
    """Returns a broker, not started yet, that gives the messages of each queue to its delivery handler."""
    # `Delivery` parses, acknowledges, retries and drains for every route, so FastStream's own ways of doing so are off.
    broker = RabbitBroker(
        url, reconnect_interval=1, graceful_timeout=None, apply_types=False, decoder=_pass_through, logger=None
    )
    for delivery in deliveries:
        queue = RabbitQueue(delivery.queue, queue_type=QueueType.QUORUM, durable=True, declare=False)
        broker.subscriber(
            queue, channel=Channel(prefetch_count=delivery.concurrency), ack_policy=AckPolicy.MANUAL, no_reply=True
        )(delivery.receive)
    return broker


async def cancel_consumers(broker: RabbitBroker) -> None:
    """Takes no more messages. Those that handlers work on can still be acknowledged."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await asyncio.gather(*(subscriber.stop() for subscriber in broker.subscribers))
    except Exception as error:  # noqa: BLE001 - the broker may be gone, and its connection in any state
        log.warning("consumers not cancelled", error=repr(error))


async def close(broker: RabbitBroker) -> None:
    """Closes the connection: RabbitMQ redelivers what is not acknowledged."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await broker.stop()
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("broker did not stop cleanly", error=repr(error))


async def _pass_through(message: RabbitMessage) -> RabbitMessage:
    """Returns the message itself: FastStream passes the decoder's result on, and the handler must acknowledge it."""
    return message
