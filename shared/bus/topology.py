"""Exchanges and queues, declared once from what the services' routes say; services themselves declare nothing."""

import aio_pika
from pamqp.common import FieldTable

from shared.bus.routes import Route
from shared.contracts.message import Command

COMMANDS = "millrace.commands"
EVENTS = "millrace.events"
DEAD = "millrace.dead"
DELIVERY_LIMIT = 20
LONGEST_QUEUE = 1_000_000


async def declare(url: str, heard: dict[str, tuple[Route, ...]]) -> list[str]:
    """Makes what is missing for every service's routes and returns the queues' names. Can be run again at any time.

    Raises aio_pika.exceptions.ChannelPreconditionFailed where a queue of that name has other arguments.
    """
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        channel = await connection.channel()
        commands = await channel.declare_exchange(COMMANDS, aio_pika.ExchangeType.DIRECT, durable=True)
        events = await channel.declare_exchange(EVENTS, aio_pika.ExchangeType.TOPIC, durable=True)
        dead = await channel.declare_exchange(DEAD, aio_pika.ExchangeType.FANOUT, durable=True)
        graveyard = await channel.declare_queue(DEAD, durable=True, arguments={"x-queue-type": "quorum"})
        await graveyard.bind(dead)
        names = []
        for service, routes in heard.items():
            for route in routes:
                queue = await channel.declare_queue(route.queue(service), durable=True, arguments=_arguments())
                exchange = commands if issubclass(route.message, Command) else events
                await queue.bind(exchange, routing_key=route.binding)
                names.append(queue.name)
        return names


def _arguments() -> FieldTable:
    """At-least-once dead lettering works only with reject-publish; without a length that would mean nothing."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length": LONGEST_QUEUE,
    }
