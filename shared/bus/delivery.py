"""Processing of one delivery: decode, claim in the inbox, handle, write to the outbox, commit, acknowledge."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec
import structlog
from faststream.rabbit import RabbitMessage

from shared.bus import attempts, dead_letters, failures, inbox, outbox, shelf
from shared.bus.interruption import Interrupted, RunningCommands
from shared.bus.queue_progress import QueueProgress
from shared.bus.relay import Relay
from shared.bus.routes import Committed, Route, to_list
from shared.contracts import envelope
from shared.contracts.envelope import Envelope
from shared.contracts.message import Command, Message
from shared.contracts.parts import Problem
from shared.db import Connection, Pool, transaction
from shared.db.faults import CONFLICTS, UNAVAILABLE, is_not_now
from shared.telemetry import metrics

MAX_CONFLICTS = 5
UNAVAILABLE_SECONDS = 1.0
SUSPECT_DELIVERIES = 3
"""Deliveries without an end, after which a message is handled while no other such message is."""
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
log = structlog.get_logger()


class Delivery:
    """Processes the deliveries of one queue. `suspects` is one lock for all queues of the process."""

    def __init__(
        self,
        service: str,
        route: Route,
        lane: str,
        pool: Pool,
        relay: Relay,
        dependencies: Mapping[Any, Any],
        suspects: asyncio.Lock,
        committed: Committed | None,
    ) -> None:
        self.queue = route.queue(service, lane)
        self.lane = lane
        self.message_type = route.message
        self.concurrency = route.concurrency
        self.progress = QueueProgress()
        self.running: set[asyncio.Task[None]] = set()
        self.commands = RunningCommands()
        self._service = service
        self._route = route
        self._pool = pool
        self._relay = relay
        self._dependencies = dependencies
        self._suspects = suspects
        self._committed = committed
        # Prometheus sees the first increase only of a series that starts at 0.
        metrics.MESSAGES.labels(route.message.name(), "done")

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
            if cloud_event.type != self.message_type.name():
                raise msgspec.ValidationError(f"unexpected message {cloud_event.type}")
        except DECODE_ERRORS as error:
            self._log_undecodable(error)
            await delivery.reject(requeue=False)
            return
        try:
            message = self.message_type.decode(cloud_event.data)
            if cloud_event.id != message.id:
                raise msgspec.ValidationError(f"the id should be {message.id}")
        except DECODE_ERRORS as error:
            self._log_undecodable(error)
            await self._give_up(cloud_event, "undecodable", failures.undecodable(error), 1)
            await delivery.ack()
            return
        with structlog.contextvars.bound_contextvars(
            job=cloud_event.subject, correlation_id=str(cloud_event.id), message=message.name(), dataset=message.dataset
        ):
            began = time.monotonic()
            redeliveries = int(delivery.headers.get("x-delivery-count") or 0)
            result = await self._settle_counted(message, cloud_event, redeliveries)
            metrics.MESSAGES.labels(message.name(), result).inc()
            metrics.MESSAGE_SECONDS.labels(message.name()).observe(time.monotonic() - began)
            log.info("handled", result=result, attempt=cloud_event.attempt, seconds=round(time.monotonic() - began, 4))
            if cloud_event.sentat is not None:
                self.progress.record(cloud_event.sentat)
            await delivery.ack()

    def _log_undecodable(self, error: Exception) -> None:
        log.warning("undecodable", queue=self.queue, error=str(error))
        metrics.MESSAGES.labels(self.message_type.name(), "dead").inc()

    async def _settle_counted(self, message: Message, cloud_event: Envelope, redeliveries: int) -> str:
        """Counts a delivery that follows one without an end: the message may have killed its process."""
        if not redeliveries:
            return await self._settle(message, cloud_event)
        crashes = await self._persist(lambda db: attempts.count_crashed(db, message.id)) + 1
        if crashes >= failures.MAX_CRASHES:
            return await self._give_up(cloud_event, "poison", failures.poison(crashes), crashes)
        # Alone, so that a message that kills the process is not counted against another one.
        async with self._suspects if redeliveries >= SUSPECT_DELIVERIES else contextlib.nullcontext():
            number = await self._persist(lambda db: attempts.insert_attempt(db, message, None))
            try:
                return await self._settle(message, cloud_event)
            finally:
                with contextlib.suppress(Exception):
                    async with self._pool.acquire() as db:
                        await attempts.delete_begun(db, message.id, number)

    async def _settle(self, message: Message, cloud_event: Envelope) -> str:
        """Handles the message or schedules its retry. Waits while Postgres is unavailable. Returns a metric label."""
        conflicts = 0
        while True:
            try:
                with self.commands.handle(message):
                    return await self._handle(message)
            except failures.NotReady:
                seconds = failures.pause(cloud_event.time, failures.NOT_READY_SECONDS)
                return await self._retry(message, cloud_event, seconds, None, "postponed")
            except Interrupted:
                await self._persist(lambda db: shelf.shelve(db, self._service, [UUID(cloud_event.subject)]))
                return "canceled"
            except UNAVAILABLE as error:
                log.warning("database unavailable", error=repr(error))
                await asyncio.sleep(UNAVAILABLE_SECONDS)
            except CONFLICTS as error:
                conflicts += 1
                if conflicts > MAX_CONFLICTS:
                    return await self._fail(message, cloud_event, error)
                log.info("transaction conflict", error=repr(error))
                await asyncio.sleep(failures.backoff(conflicts) / 50)
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; the job fails with it in the end
                if not is_not_now(error):
                    return await self._fail(message, cloud_event, error)
                log.warning("not now", error=repr(error))
                seconds = failures.pause(cloud_event.time, failures.NOT_NOW_SECONDS)
                return await self._retry(message, cloud_event, seconds, failures.not_now(error), "waiting")

    async def _handle(self, message: Message) -> str:
        async with transaction(self._pool) as db:
            if not await inbox.claim(db, message.id, message.name()):
                return "duplicate"
            arguments = {
                name: db if kind is Connection else self._dependencies[kind]
                for name, kind in self._route.dependencies.items()
            }
            taken = [message] if self._route.together else message
            messages = to_list(await self._route.handler(taken, **arguments))
            await outbox.insert_messages(db, messages)
        if messages:
            self._relay.wake()
            if self._committed is not None:
                self._committed(messages)
        return "done"

    async def _fail(self, message: Message, cloud_event: Envelope, error: Exception) -> str:
        number = max(cloud_event.attempt, await self._persist(lambda db: attempts.count_failed(db, message.id))) + 1
        problem = failures.to_problem(error, number)
        log.warning("failed", attempts=number, error=repr(error), exc_info=error)
        if isinstance(error, failures.PermanentFailure) or number >= failures.MAX_ATTEMPTS:
            return await self._give_up(cloud_event, "failed", problem, number)

        async def write(db: Connection) -> None:
            await attempts.insert_attempt(db, message, problem)
            await self._insert_retry(db, message, cloud_event, number, failures.retry_delay(error, number - 1), problem)

        await self._persist(write)
        return "retried"

    async def _give_up(
        self, cloud_event: Envelope, reason: dead_letters.Reason, problem: Problem, attempts: int
    ) -> str:
        log.error("gave up", reason=reason, attempts=attempts, problem=problem.detail)
        letter = dead_letters.to_dead_letter(
            self.queue,
            cloud_event,
            command=issubclass(self.message_type, Command),
            reason=reason,
            problem=problem,
            attempts=attempts,
        )
        await self._persist(lambda db: dead_letters.give_up(db, letter))
        self._relay.wake()
        return "gave_up"

    async def _retry(
        self, message: Message, cloud_event: Envelope, seconds: float, problem: Problem | None, result: str
    ) -> str:
        await self._persist(
            lambda db: self._insert_retry(db, message, cloud_event, cloud_event.attempt, seconds, problem)
        )
        return result

    async def _insert_retry(
        self,
        db: Connection,
        message: Message,
        cloud_event: Envelope,
        attempt: int,
        seconds: float,
        problem: Problem | None,
    ) -> None:
        await outbox.insert_retry(
            db,
            message,
            queue=self.queue,
            attempt=attempt,
            seconds=seconds,
            created_at=cloud_event.time,
            problem=problem,
        )

    async def _persist(self, write: Callable[[Connection], Awaitable[Any]]) -> Any:
        """Runs `write` in a transaction of its own, and again until Postgres takes it."""
        while True:
            try:
                async with transaction(self._pool) as db:
                    return await write(db)
            except Exception as error:
                if not (isinstance(error, (*UNAVAILABLE, *CONFLICTS)) or is_not_now(error)):
                    raise
                log.warning("database unavailable", error=repr(error))
                await asyncio.sleep(UNAVAILABLE_SECONDS)
