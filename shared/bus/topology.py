"""Exchanges and queues of the bus, declared from the services' routes: each service declares what it consumes."""

import aio_pika
import aiormq
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from pamqp.common import FieldTable

from shared.bus.routes import Route
from shared.contracts.message import Command

COMMANDS = "millrace.commands"
EVENTS = "millrace.events"
DEAD = "millrace.dead"
DELIVERY_LIMIT = 20
MAX_QUEUE_LENGTH = 1_000_000
REFUSED = (aiormq.exceptions.ChannelPreconditionFailed, aiormq.exceptions.ChannelAccessRefused)
"""The queue exists with other arguments, or the user may not declare it."""
log = structlog.get_logger()


async def declare(url: str, routes: dict[str, tuple[Route, ...]]) -> list[str]:
    """Declares the exchanges and the queues of each service's routes; returns the queues' names. Idempotent.

    A queue that exists with other arguments keeps them: its messages matter more than the arguments.
    """
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        channel = await connection.channel()
        commands = await channel.declare_exchange(COMMANDS, aio_pika.ExchangeType.DIRECT, durable=True)
        events = await channel.declare_exchange(EVENTS, aio_pika.ExchangeType.TOPIC, durable=True)
        dead = await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
        await _declare_queue(connection, DEAD, {"x-queue-type": "quorum"}, dead, [""])
        names = []
        for service, consumed in routes.items():
            for route in consumed:
                exchange = commands if issubclass(route.message, Command) else events
                for lane, queue in route.queues(service).items():
                    await _declare_queue(connection, queue, _arguments(), exchange, route.bindings(service, lane))
                    names.append(queue)
        return names


async def _declare_queue(
    connection: AbstractConnection, name: str, arguments: FieldTable, exchange: AbstractExchange, keys: list[str]
) -> None:
    # A refusal closes the channel, so that each queue gets one of its own.
    channel: AbstractChannel
    async with connection.channel() as channel:
        try:
            queue = await channel.declare_queue(name, durable=True, arguments=arguments)
        except REFUSED as error:
            log.warning("queue kept as it is", queue=name, error=str(error))
            return
        for key in keys:
            await queue.bind(exchange, routing_key=key)


def _arguments() -> FieldTable:
    """Returns a queue's arguments. At-least-once dead lettering needs reject-publish, and that a maximum length."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length": MAX_QUEUE_LENGTH,
    }
