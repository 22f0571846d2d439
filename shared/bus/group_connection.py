"""Connection of a service for the queues that it takes in groups. It is replaced when it is lost."""

import asyncio
import contextlib
from collections.abc import Sequence

import aiormq
import structlog
from aiormq.abc import AbstractConnection

from shared.bus.group_delivery import GroupDelivery

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 2.0
RETRY_SECONDS = 1.0
log = structlog.get_logger()


class GroupConnection:
    """Consumes the queues of these deliveries."""

    def __init__(self, url: str, deliveries: Sequence[GroupDelivery]) -> None:
        self._url = url
        self._deliveries = deliveries
        self._connection: AbstractConnection | None = None
        self._consuming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects and consumes. Raises OSError, TimeoutError or an AMQP error if there is no broker."""
        connection = await self._connect()
        self._consuming = asyncio.create_task(self._consume(connection), name="consume groups")

    def stop(self) -> None:
        """Takes no more messages. Running groups can still be acknowledged."""
        for delivery in self._deliveries:
            delivery.stop()

    async def close(self) -> None:
        """Closes the connection: RabbitMQ redelivers what is not acknowledged."""
        if self._consuming is not None:
            self._consuming.cancel()
            await asyncio.gather(self._consuming, return_exceptions=True)
        if self._connection is not None:
            with contextlib.suppress(Exception):  # the broker may be gone, and the connection in any state
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._connection.close()
        self._connection = None

    async def _connect(self) -> AbstractConnection:
        async with asyncio.timeout(CONNECT_SECONDS):
            self._connection = await aiormq.connect(self._url)
        return self._connection

    async def _consume(self, connection: AbstractConnection) -> None:
        while True:
            await asyncio.gather(*(delivery.run(connection) for delivery in self._deliveries))
            if all(delivery.is_stopping for delivery in self._deliveries):
                return
            connection = await self._reconnect()

    async def _reconnect(self) -> AbstractConnection:
        while True:
            try:
                return await self._connect()
            except Exception as error:  # noqa: BLE001 - a broker that starts or stops causes almost any error
                log.warning("waiting for rabbitmq", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
