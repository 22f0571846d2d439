"""Publishing connection to RabbitMQ: separate from the consuming one, because a broker may block publishers."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import aio_pika
import aiormq
import msgspec
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.connection import make_url
from aiormq.abc import ChannelFrame

from shared.bus import frames
from shared.bus.confirms import Confirm, Confirms
from shared.bus.outbox import OutboxMessage
from shared.bus.routes import routing_key
from shared.bus.topology import COMMANDS, EVENTS
from shared.contracts.envelope import MAX_BYTES, Envelope

CONFIRM_SECONDS = 10
Batch = Sequence[tuple[OutboxMessage, bytes]]
"""Messages with their encoded bodies; their ids differ."""


class Unroutable(Exception):
    """No queue takes the message."""


class Refused(Exception):
    """The queue does not take the message now: it is full."""


class TooLarge(Exception):
    """The message has more bytes than a receiver accepts."""


class Publisher:
    """Publishes messages with publisher confirms."""

    def __init__(self, url: str, service: str) -> None:
        self._url = url
        self._service = service
        self._connection: AbstractRobustConnection | None = None
        self._channel: AbstractRobustChannel | None = None
        self._opening = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether a message could be published now."""
        return self._connection is not None and self._connection.connected.is_set()

    @property
    def is_reconnecting(self) -> bool:
        """Whether the connection was lost and is not back yet."""
        return self._connection is not None and not self._connection.is_closed and not self.is_connected

    async def publish(self, messages: Sequence[OutboxMessage]) -> list[Exception | None]:
        """Publishes the messages in one write and waits for the confirms. Returns why each was not sent, or None.

        That is Unroutable, Refused or TooLarge; or OSError, TimeoutError or an AMQP error, after which the message may
        have arrived or not.
        """
        results: list[Exception | None] = [None] * len(messages)
        bodies: dict[int, bytes] = {}
        for index, message in enumerate(messages):
            body = encode(message, self._service)
            if len(body) <= MAX_BYTES:
                bodies[index] = body
            else:
                results[index] = TooLarge(f"{message.name} has {len(body)} bytes; the limit is {MAX_BYTES}")
        # aiormq finds a returned message by its id, so copies for several queues are published one after the other.
        while bodies:
            places = {messages[index].id: index for index in bodies}.values()
            batch = [(messages[index], bodies.pop(index)) for index in places]
            for index, result in zip(places, await self._publish(batch), strict=True):
                results[index] = result
        return results

    async def _publish(self, batch: Batch) -> list[Exception | None]:
        lost: Exception = ConnectionResetError("the connection was closed")
        channel: Any = None  # a channel of aiormq, whose interface lacks what a batch needs
        confirms: list[Confirm] = []
        try:
            # aiormq's own timeouts do not cover the wait for a lost connection.
            async with asyncio.timeout(CONFIRM_SECONDS):
                channel = await (await self.channel()).get_underlay_channel()
                drained, written = await _write(channel, batch)
                confirms = written.each
                await drained
                await written.ended
        except Exception as error:  # noqa: BLE001 - it is the result of each message without a confirm
            lost = _to_lost(error)
        finally:
            for (message, _), _ in zip(batch, confirms, strict=False):  # there are none before the write
                channel.message_id_delivery_tag.pop(str(message.id), None)
        if not confirms:
            return [lost] * len(batch)
        return [
            _to_result(message, confirm.error) if confirm.done() else lost
            for (message, _), confirm in zip(batch, confirms, strict=True)
        ]

    async def channel(self) -> AbstractRobustChannel:
        """Returns the open channel; connects if there is none."""
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                connection = await self._connected()
                self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            return self._channel

    async def _connected(self) -> AbstractRobustConnection:
        if self._connection is None or self._connection.is_closed:
            connection = aio_pika.RobustConnection(make_url(self._url, reconnect_interval=1))
            try:
                await connection.connect(timeout=5)
            except BaseException:
                # Otherwise aio-pika keeps connecting in the background, even after a cancellation.
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def count(self, queue: str) -> tuple[int, int]:
        """Returns how many messages and consumers a queue has. Raises an AMQP error if there is no such queue."""
        async with asyncio.timeout(CONFIRM_SECONDS):
            async with self._opening:
                connection = await self._connected()
            # A passive declare that fails closes its channel, so it gets one of its own.
            async with await connection.channel() as channel:
                declared = await channel.declare_queue(queue, passive=True)
                result = declared.declaration_result
                return result.message_count or 0, result.consumer_count or 0

    async def close(self) -> None:
        """Closes the connection, and ignores errors: it may be gone already."""
        if self._connection is not None:
            with contextlib.suppress(OSError, TimeoutError, aiormq.exceptions.AMQPError):
                await self._connection.close()


def encode(message: OutboxMessage, service: str) -> bytes:
    """Returns the message as a CloudEvent in JSON."""
    return msgspec.json.encode(
        Envelope(
            specversion="1.0",
            id=message.id,
            source=f"/millrace/{service}",
            type=message.name,
            subject=message.subject,
            time=message.created_at,
            dataset=message.dataset,
            attempt=message.attempt,
            sentat=message.sent_at,
            data=msgspec.Raw(message.data),
        )
    )


async def _write(channel: Any, batch: Batch) -> tuple[asyncio.Future[None], Confirms]:
    """Writes the batch as `basic_publish` of aiormq writes a message. Returns the end of the write and the confirms."""
    frame_max = channel.connection.connection_tune.frame_max
    parts: list[bytes] = []
    for message, body in batch:
        parts += frames.encode(message, body, *_address(message), channel=channel.number, frame_max=frame_max)
    drained: asyncio.Future[None] = channel.create_future()
    confirms = Confirms(channel.create_future(), len(batch))
    async with channel.lock:
        await channel.write_queue.put(ChannelFrame(b"".join(parts), should_close=False, drain_future=drained))
        # The writer runs at the next `await`, so no confirm comes before it is expected.
        for (message, _), confirm in zip(batch, confirms.each, strict=True):
            channel.delivery_tag += 1
            channel.message_id_delivery_tag[str(message.id)] = channel.delivery_tag
            channel.confirmations[channel.delivery_tag] = confirm
    return drained, confirms


def _to_result(message: OutboxMessage, error: Exception | None) -> Exception | None:
    match error:
        case aiormq.exceptions.PublishError():
            return Unroutable(f"no queue takes {message.name} ({_address(message)[1]})")
        case aiormq.exceptions.DeliveryError():
            return Refused(f"a queue of {message.name} ({_address(message)[1]}) is full")
    return error


def _to_lost(error: Exception) -> Exception:
    """Returns what a relay waits for in place of what aiormq raises when the connection closes during a call."""
    # That is a RuntimeError, or a plain Exception if there is no reason.
    return ConnectionResetError(str(error)) if isinstance(error, RuntimeError) or type(error) is Exception else error


def _address(message: OutboxMessage) -> tuple[str, str]:
    """Returns exchange and routing key. The default exchange, "", routes to the queue of that name."""
    if message.queue:
        return "", message.queue
    key = routing_key(message.name, message.dataset, message.lane, message.audience, command=message.command)
    return COMMANDS if message.command else EVENTS, key
