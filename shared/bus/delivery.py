"""Processing of one delivery: decode, claim in the inbox, handle, write to the outbox, commit, acknowledge."""

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
from shared.db.faults import CONFLICTS, UNAVAILABLE
from shared.telemetry import metrics

MAX_CONFLICTS = 5
NOT_READY_SECONDS = 0.25
UNAVAILABLE_SECONDS = 1.0
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
log = structlog.get_logger()


class Delivery:
    """Processes the deliveries of one queue."""

    def __init__(self, service: str, route: Route, pool: Pool, relay: Relay, dependencies: Mapping[Any, Any]) -> None:
        self.queue = route.queue(service)
        self.concurrency = route.concurrency
        self._route = route
        self._pool = pool
        self._relay = relay
        self._dependencies = dependencies
        # Prometheus sees the first increase only of a series that starts at 0.
        metrics.MESSAGES.labels(route.message.name(), "done")
        self.running: set[asyncio.Task[None]] = set()

    async def receive(self, delivery: RabbitMessage) -> None:
        """Processes a delivery in its own task: aiormq cancels this coroutine when the connection is lost."""
        task = asyncio.create_task(self._run(delivery), name=self.queue)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        await asyncio.shield(task)

    async def _run(self, delivery: RabbitMessage) -> None:
        try:
            await self._process(delivery)
        except Exception as error:  # usually the channel closed before the acknowledgement: the broker redelivers
            log.warning("delivery lost", queue=self.queue, error=repr(error), exc_info=error)
            await asyncio.sleep(UNAVAILABLE_SECONDS)
            with contextlib.suppress(Exception):
                await delivery.nack(requeue=True)

    async def _process(self, delivery: RabbitMessage) -> None:
        try:
            cloud_event = envelope.decode(delivery.body)
            message = self._route.message.decode(cloud_event.data)
            if cloud_event.type != message.name() or cloud_event.id != message.id:
                raise msgspec.ValidationError(f"unexpected message {cloud_event.type} {cloud_event.id}")
        except DECODE_ERRORS as error:
            log.warning("undecodable", queue=self.queue, error=str(error))
            metrics.MESSAGES.labels(self._route.message.name(), "dead").inc()
            await delivery.reject(requeue=False)
            return
        with structlog.contextvars.bound_contextvars(
            job=cloud_event.subject, correlation_id=str(cloud_event.id), message=message.name(), dataset=message.dataset
        ):
            began = time.monotonic()
            result = await self._settle(message, cloud_event.attempt)
            metrics.MESSAGES.labels(message.name(), result).inc()
            metrics.MESSAGE_SECONDS.labels(message.name()).observe(time.monotonic() - began)
            log.info("handled", result=result, attempt=cloud_event.attempt, seconds=round(time.monotonic() - began, 4))
            if result == "dead":
                await delivery.reject(requeue=False)
            else:
                await delivery.ack()

    async def _settle(self, message: Message, attempt: int) -> str:
        """Handles the message or schedules its retry. Waits while Postgres is unavailable. Returns a metric label."""
        conflicts = 0
        while True:
            try:
                return await self._handle(message)
            except failures.NotReady:
                return await self._retry(message, attempt, NOT_READY_SECONDS, "postponed")
            except UNAVAILABLE as error:
                log.warning("database unavailable", error=repr(error))
                await asyncio.sleep(UNAVAILABLE_SECONDS)
            except CONFLICTS as error:
                conflicts += 1
                if conflicts > MAX_CONFLICTS:
                    return await self._fail(message, attempt, error)
                log.info("transaction conflict", error=repr(error))
                await asyncio.sleep(failures.backoff(conflicts) / 50)
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; the job fails with it in the end
                return await self._fail(message, attempt, error)

    async def _handle(self, message: Message) -> str:
        async with transaction(self._pool) as db:
            if not await inbox.claim(db, message):
                return "duplicate"
            arguments = {
                name: db if kind is Connection else self._dependencies[kind]
                for name, kind in self._route.dependencies.items()
            }
            await outbox.insert_messages(db, _to_list(await self._route.handler(message, **arguments)))
        self._relay.wake()
        return "done"

    async def _fail(self, message: Message, attempt: int, error: Exception) -> str:
        attempts = attempt + 1
        if not isinstance(error, failures.PermanentFailure) and attempts < failures.MAX_ATTEMPTS:
            log.warning("failed", attempts=attempts, error=repr(error), exc_info=error)
            return await self._retry(message, attempts, failures.retry_delay(error, attempt), "retried")
        log.error("gave up", attempts=attempts, error=repr(error), exc_info=error)
        job_id = getattr(message, "job_id", None)
        if job_id is None:
            return "dead"
        failure = WorkFailed(
            dataset=message.dataset,
            job_id=job_id,
            message_id=message.id,
            message=message.name(),
            problem=failures.to_problem(error, attempts),
        )
        while True:
            try:
                async with transaction(self._pool) as db:
                    if await inbox.claim(db, message):
                        await outbox.insert_messages(db, [failure])
                self._relay.wake()
            except UNAVAILABLE:
                await asyncio.sleep(UNAVAILABLE_SECONDS)
            else:
                return "gave_up"

    async def _retry(self, message: Message, attempt: int, seconds: float, result: str) -> str:
        while True:
            try:
                async with self._pool.acquire() as db:
                    await outbox.insert_retry(db, message, queue=self.queue, attempt=attempt, seconds=seconds)
            except UNAVAILABLE:
                await asyncio.sleep(UNAVAILABLE_SECONDS)
            else:
                return result


def _to_list(result: Any) -> list[Message]:
    """Returns a handler's result as a list: it may be None, one message or several."""
    if result is None:
        return []
    return [result] if isinstance(result, Message) else list(result)
