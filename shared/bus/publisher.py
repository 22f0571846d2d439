"""Publishing connection to RabbitMQ: separate from the consuming one, because a broker may block publishers."""

import asyncio
import contextlib
from typing import Any

import aio_pika
import aiormq
import msgspec
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.connection import make_url

from shared.bus.outbox import OutboxMessage
from shared.bus.routes import routing_key
from shared.bus.topology import COMMANDS, EVENTS
from shared.contracts.envelope import CONTENT_TYPE, MAX_BYTES, Envelope

CONFIRM_SECONDS = 10
PERSISTENT = 2


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

    async def publish(self, message: OutboxMessage) -> None:
        """Publishes the message and waits for the confirm.

        Raises Unroutable, Refused or TooLarge; or OSError, TimeoutError or an AMQP error, after which the message may
        have arrived or not.
        """
        body = encode(message, self._service)
        if len(body) > MAX_BYTES:
            raise TooLarge(f"{message.name} has {len(body)} bytes; the limit is {MAX_BYTES}")
        # The timeout of `Exchange.publish` does not cover the wait for a lost connection.
        async with asyncio.timeout(CONFIRM_SECONDS):
            exchange, key = _address(message)
            try:
                channel: Any = await (await self.channel()).get_underlay_channel()  # whose stub lacks `wait`
                # aio-pika's `Exchange.publish` would drain the socket for each message.
                await channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=key,
                    properties=_properties(message),
                    mandatory=message.mandatory,
                    wait=False,
                )
            except aiormq.exceptions.PublishError as error:
                raise Unroutable(f"no queue takes {message.name} ({key})") from error
            except aiormq.exceptions.DeliveryError as error:
                raise Refused(f"a queue of {message.name} ({key}) is full") from error
            except RuntimeError as error:  # aiormq raises it when the connection closes during a call
                raise ConnectionResetError(str(error)) from error
            except Exception as error:
                if type(error) is not Exception:
                    raise
                # aiormq raises a plain Exception for a call that it aborts without a reason.
                raise ConnectionResetError("the connection was closed") from error

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


def _properties(message: OutboxMessage) -> aiormq.spec.Basic.Properties:
    return aiormq.spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=PERSISTENT,
        message_id=str(message.id),
        correlation_id=message.subject,
        timestamp=message.created_at,
        message_type=message.name,
        app_id="millrace",
    )


def _address(message: OutboxMessage) -> tuple[str, str]:
    """Returns exchange and routing key. The default exchange, "", routes to the queue of that name."""
    if message.queue:
        return "", message.queue
    key = routing_key(message.name, message.dataset, message.lane, message.audience, command=message.command)
    return COMMANDS if message.command else EVENTS, key
