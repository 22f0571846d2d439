"""The life of a delivery: decode, claim, handle, write what follows, commit, acknowledge. Once, for every handler."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from faststream.rabbit import RabbitMessage

from shared.bus import failures, inbox, outbox
from shared.bus.relay import Relay
from shared.bus.routes import Route
from shared.contracts import envelope
from shared.contracts.events import WorkFailed
from shared.contracts.message import Message
from shared.db import Connection, Pool, transaction
from shared.db.faults import AWAY, COLLIDED
from shared.telemetry import metrics

COLLISIONS = 5
POSTPONED_SECONDS = 0.25
AWAY_SECONDS = 1.0
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
log = structlog.get_logger()


class Delivery:
    """Takes the deliveries of one queue from the broker to a committed transaction."""

    def __init__(self, service: str, route: Route, pool: Pool, relay: Relay, dependencies: Mapping[Any, Any]) -> None:
        self._queue = route.queue(service)
        self._route = route
        self._pool = pool
        self._relay = relay
        self._dependencies = dependencies
        metrics.MESSAGES.labels(route.message.name(), "done")  # a series that begins at 0 shows its first increase
        self.under_way: set[asyncio.Task[None]] = set()

    async def take(self, message: RabbitMessage) -> None:
        """Works in a task of its own: aiormq cancels handlers when the broker goes, a transaction must not."""
        task = asyncio.create_task(self._work(message), name=self._queue)
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        await asyncio.shield(task)

    async def _work(self, delivered: RabbitMessage) -> None:
        try:
            await self._live(delivered)
        except Exception as error:  # most often an acknowledgement on a channel that is gone: it is delivered again
            log.warning("delivery lost", queue=self._queue, error=repr(error), exc_info=error)
            await asyncio.sleep(AWAY_SECONDS)
            with contextlib.suppress(Exception):
                await delivered.nack(requeue=True)

    async def _live(self, delivered: RabbitMessage) -> None:
        try:
            letter = envelope.decode(delivered.body)
            message = self._route.message.decode(letter.data)
            if letter.type != message.name() or letter.id != message.id:
                raise msgspec.ValidationError(f"{letter.type} {letter.id} is not what this queue takes")
        except UNREADABLE as error:
            log.warning("undecodable", queue=self._queue, error=str(error))
            metrics.MESSAGES.labels(self._route.message.name(), "dead").inc()
            await delivered.reject(requeue=False)
            return
        with structlog.contextvars.bound_contextvars(
            job=letter.subject, correlation_id=str(letter.id), message=message.name(), dataset=message.dataset
        ):
            began = time.monotonic()
            result = await self._settle(message, letter.attempt)
            metrics.MESSAGES.labels(message.name(), result).inc()
            metrics.MESSAGE_SECONDS.labels(message.name()).observe(time.monotonic() - began)
            log.info("handled", result=result, attempt=letter.attempt, seconds=round(time.monotonic() - began, 4))
            if result == "dead":
                await delivered.reject(requeue=False)
            else:
                await delivered.ack()

    async def _settle(self, message: Message, attempt: int) -> str:
        """Until the message's fate is committed, however long Postgres is away. Returns the metric's result."""
        collisions = 0
        while True:
            try:
                return await self._handle(message)
            except failures.Postponed:
                return await self._again(message, attempt, POSTPONED_SECONDS, "postponed")
            except AWAY as error:
                log.warning("database away", error=repr(error))
                await asyncio.sleep(AWAY_SECONDS)
            except COLLIDED as error:
                collisions += 1
                if collisions > COLLISIONS:
                    return await self._failed(message, attempt, error)
                log.info("collided", error=repr(error))
                await asyncio.sleep(failures.backoff(collisions) / 50)
            except Exception as error:  # noqa: BLE001 - any bug or fault of a handler: tried again, then told to the job
                return await self._failed(message, attempt, error)

    async def _handle(self, message: Message) -> str:
        async with transaction(self._pool) as db:
            if not await inbox.claim(db, message):
                return "duplicate"
            arguments = {
                name: db if kind is Connection else self._dependencies[kind] for name, kind in self._route.needs.items()
            }
            await outbox.insert_messages(db, _flat(await self._route.handler(message, **arguments)))
        self._relay.wake()
        return "done"

    async def _failed(self, message: Message, attempt: int, error: Exception) -> str:
        attempts = attempt + 1
        if not isinstance(error, failures.Permanent) and attempts < failures.ATTEMPTS:
            log.warning("failed", attempts=attempts, error=repr(error), exc_info=error)
            return await self._again(message, attempts, failures.pause(error, attempt), "retried")
        log.error("gave up", attempts=attempts, error=repr(error), exc_info=error)
        job_id = getattr(message, "job_id", None)
        if job_id is None:
            return "dead"
        failure = WorkFailed(
            dataset=message.dataset,
            job_id=job_id,
            message_id=message.id,
            message=message.name(),
            problem=failures.problem(error, attempts),
        )
        while True:
            try:
                async with transaction(self._pool) as db:
                    if await inbox.claim(db, message):
                        await outbox.insert_messages(db, [failure])
                self._relay.wake()
            except AWAY:
                await asyncio.sleep(AWAY_SECONDS)
            else:
                return "gave_up"

    async def _again(self, message: Message, attempt: int, seconds: float, result: str) -> str:
        while True:
            try:
                async with self._pool.acquire() as db:
                    await outbox.insert_retry(db, message, queue=self._queue, attempt=attempt, seconds=seconds)
            except AWAY:
                await asyncio.sleep(AWAY_SECONDS)
            else:
                return result


def _flat(said: Any) -> list[Message]:
    """A handler says nothing, one message or several."""
    if said is None:
        return []
    return [said] if isinstance(said, Message) else list(said)
