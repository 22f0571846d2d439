"""Exchanges and queues of the bus, declared from the services' routes before the services start."""

import aio_pika
from pamqp.common import FieldTable

from shared.bus.routes import Route
from shared.contracts.message import Command

COMMANDS = "millrace.commands"
EVENTS = "millrace.events"
DEAD = "millrace.dead"
DELIVERY_LIMIT = 20
MAX_QUEUE_LENGTH = 1_000_000


async def declare(url: str, routes: dict[str, tuple[Route, ...]]) -> list[str]:
    """Declares the exchanges and the queue of each service's routes; returns the queues' names. Idempotent.

    Raises aio_pika.exceptions.ChannelPreconditionFailed if a queue exists with other arguments.
    """
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        channel = await connection.channel()
        commands = await channel.declare_exchange(COMMANDS, aio_pika.ExchangeType.DIRECT, durable=True)
        events = await channel.declare_exchange(EVENTS, aio_pika.ExchangeType.TOPIC, durable=True)
        dead = await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
        dead_letters = await channel.declare_queue(DEAD, durable=True, arguments={"x-queue-type": "quorum"})
        await dead_letters.bind(dead)
        names = []
        for service, consumed in routes.items():
            for route in consumed:
                queue = await channel.declare_queue(route.queue(service), durable=True, arguments=_arguments())
                exchange = commands if issubclass(route.message, Command) else events
                await queue.bind(exchange, routing_key=route.binding)
                names.append(queue.name)
        return names


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
