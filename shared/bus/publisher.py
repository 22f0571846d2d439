"""The connection that publishes: its own, so that a broker which blocks publishers never stops a consumer."""

import asyncio
import contextlib
from typing import Any

import aio_pika
import aiormq
import msgspec
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.connection import make_url

from shared.bus.outbox import OutboxMessage
from shared.bus.topology import COMMANDS, EVENTS
from shared.contracts.envelope import CONTENT_TYPE, Envelope

CONFIRM_SECONDS = 10
PERSISTENT = 2


class Unroutable(Exception):
    """No queue takes the message."""


class Publisher:
    """Publishes letters, and returns from each only when the broker has it safe."""

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

    async def publish(self, letter: OutboxMessage) -> None:
        """Raises Unroutable, or OSError, TimeoutError or an AMQP error when it is unknown whether it arrived."""
        # The timeout of `Exchange.publish` does not cover the wait for a lost connection.
        async with asyncio.timeout(CONFIRM_SECONDS):
            exchange, key = _address(letter)
            try:
                channel: Any = await (await self.channel()).get_underlay_channel()  # whose stub lacks `wait`
                # Not through aio-pika's exchange, which awaits the socket's buffer for each message by itself.
                await channel.basic_publish(
                    encode(letter, self._service),
                    exchange=exchange,
                    routing_key=key,
                    properties=_properties(letter),
                    mandatory=letter.mandatory,
                    wait=False,
                )
            except aiormq.exceptions.PublishError as error:
                raise Unroutable(f"no queue takes {letter.name} ({key})") from error
            except RuntimeError as error:  # aiormq's word for a connection that closes under a call
                raise ConnectionResetError(str(error)) from error
            except Exception as error:
                if type(error) is not Exception:
                    raise
                # And this is its word for a call that it ends without knowing why.
                raise ConnectionResetError("the connection was closed") from error

    async def channel(self) -> AbstractRobustChannel:
        """The open channel; connects when there is none."""
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
                # aio-pika would go on trying for ever, past cancellation, on behalf of somebody who no longer waits.
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def count(self, queue: str) -> tuple[int, int]:
        """Messages that wait in a queue, and its consumers. Raises an AMQP error for a queue that is not there."""
        async with asyncio.timeout(CONFIRM_SECONDS):
            async with self._opening:
                connection = await self._connected()
            # A passive declare that fails closes its channel, so it gets one of its own.
            async with await connection.channel() as channel:
                declared = await channel.declare_queue(queue, passive=True)
                result = declared.declaration_result
                return result.message_count or 0, result.consumer_count or 0

    async def close(self) -> None:
        """Never raises: the connection may be gone already."""
        if self._connection is not None:
            with contextlib.suppress(OSError, TimeoutError, aiormq.exceptions.AMQPError):
                await self._connection.close()


def encode(letter: OutboxMessage, service: str) -> bytes:
    """The letter as a CloudEvent."""
    return msgspec.json.encode(
        Envelope(
            specversion="1.0",
            id=letter.id,
            source=f"/millrace/{service}",
            type=letter.name,
            subject=letter.subject,
            time=letter.created_at,
            dataset=letter.dataset,
            attempt=letter.attempt,
            data=msgspec.Raw(letter.data),
        )
    )


def _properties(letter: OutboxMessage) -> aiormq.spec.Basic.Properties:
    return aiormq.spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=PERSISTENT,
        message_id=str(letter.id),
        correlation_id=letter.subject,
        timestamp=letter.created_at,
        message_type=letter.name,
        app_id="millrace",
    )


def _address(letter: OutboxMessage) -> tuple[str, str]:
    """Exchange and routing key; the exchange without a name brings a message to the queue of that key."""
    if letter.queue:
        return "", letter.queue
    return (COMMANDS, letter.name) if letter.command else (EVENTS, f"{letter.name}.{letter.dataset}")
