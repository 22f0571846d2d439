"""Handling of one queue's messages: claims them, calls the handler and writes its messages, in one transaction."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from shared.bus import attempts, dead_letters, failures, inbox, outbox, shelf
from shared.bus.interruption import Interrupted, RunningCommands
from shared.bus.queue_progress import QueueProgress
from shared.bus.received import Received, Undecodable
from shared.bus.relay import Relay
from shared.bus.routes import Committed, Route, to_list
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
log = structlog.get_logger()


class Handling:
    """Handles the messages of one queue. `suspects` is one lock for all queues of the process."""

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
        self.route = route
        self.progress = QueueProgress()
        self.commands = RunningCommands()
        self.held: set[UUID] = set()
        """Messages that were delivered to this process and wait for their group, or are in one."""
        self._service = service
        self._pool = pool
        self._relay = relay
        self._dependencies = dependencies
        self._suspects = suspects
        self._committed = committed
        # Prometheus sees the first increase only of a series that starts at 0.
        metrics.MESSAGES.labels(self.name, "done")

    @property
    def name(self) -> str:
        """The name of the messages."""
        return self.route.message.name()

    async def handle(self, received: Received) -> None:
        """Handles one message to its end: done, given up, or to be tried again later."""
        with _log_context(received):
            began = time.monotonic()
            self.record([received], [await self._settle(received)], began)

    async def handle_counted(self, received: Received) -> None:
        """Handles one message, and counts a delivery that follows one without an end."""
        with _log_context(received):
            began = time.monotonic()
            self.record([received], [await self._settle_counted(received)], began)

    async def commit(self, messages: Sequence[Message]) -> list[str]:
        """Handles messages in one transaction, except duplicates; returns the result of each."""
        async with transaction(self._pool) as db:
            claimed = await inbox.claim_together(db, [message.id for message in messages], self.name)
            results = []
            fresh = []
            for message in messages:
                results.append("done" if message.id in claimed else "duplicate")
                if message.id in claimed:
                    claimed.remove(message.id)
                    fresh.append(message)
            written = await self._call(fresh, db) if fresh else []
            await outbox.insert_messages(db, written)
        if written:
            self._relay.wake()
            if self._committed is not None:
                try:
                    self._committed(written)
                except Exception:  # the messages have ended all the same
                    log.exception("hook failed", message=self.name)
        return results

    async def _settle(self, received: Received) -> str:
        """Handles a message or schedules its retry. Waits while Postgres is unavailable. Returns the result."""
        message, cloud_event = received.message, received.cloud_event
        conflicts = 0
        while True:
            try:
                with self.commands.handle(message):
                    (result,) = await self.commit([message])
                    return result
            except failures.NotReady:
                seconds = failures.pause(cloud_event.time, failures.NOT_READY_SECONDS)
                return await self._retry(received, seconds, None, "postponed")
            except Interrupted:
                await self.persist(lambda db: shelf.shelve_canceled(db, self._service, UUID(cloud_event.subject)))
                return "canceled"
            except UNAVAILABLE as error:
                log.warning("database unavailable", error=repr(error))
                await asyncio.sleep(UNAVAILABLE_SECONDS)
            except CONFLICTS as error:
                conflicts += 1
                if conflicts > MAX_CONFLICTS:
                    return await self._fail(received, error)
                log.info("transaction conflict", error=repr(error))
                await asyncio.sleep(failures.backoff(conflicts) / 50)
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; the job fails with it in the end
                if not is_not_now(error):
                    return await self._fail(received, error)
                log.warning("not now", error=repr(error))
                seconds = failures.pause(cloud_event.time, failures.NOT_NOW_SECONDS)
                return await self._retry(received, seconds, failures.not_now(error), "waiting")

    async def give_up_undecodable(self, error: Undecodable) -> bool:
        """Returns whether the message became a dead letter; the broker has to take one without an envelope."""
        log.warning("undecodable", queue=self.queue, error=str(error))
        metrics.MESSAGES.labels(self.name, "dead").inc()
        if error.cloud_event is None:
            return False
        await self._give_up(error.cloud_event, "undecodable", failures.undecodable(error), 1)
        return True

    def record(self, group: Sequence[Received], results: Sequence[str], began: float) -> None:
        """Records the results of messages that were handled together, from `began` on."""
        seconds = time.monotonic() - began
        for result in set(results):
            metrics.MESSAGES.labels(self.name, result).inc(results.count(result))
        metrics.MESSAGE_SECONDS.labels(self.name).observe(seconds)
        sent = [received.cloud_event.sentat for received in group if received.cloud_event.sentat is not None]
        if sent:
            self.progress.record(max(sent))
        if len(group) == 1:
            log.info("handled", result=results[0], attempt=group[0].cloud_event.attempt, seconds=round(seconds, 4))
            return
        jobs = sorted({received.cloud_event.subject for received in group})
        log.info("handled together", message=self.name, messages=len(group), jobs=jobs, seconds=round(seconds, 4))

    async def persist(self, write: Callable[[Connection], Awaitable[Any]]) -> Any:
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

    async def _call(self, messages: list[Any], db: Connection) -> list[Message]:
        arguments = {
            name: db if kind is Connection else self._dependencies[kind]
            for name, kind in self.route.dependencies.items()
        }
        taken = messages if self.route.together else messages[0]
        return to_list(await self.route.handler(taken, **arguments))

    async def _settle_counted(self, received: Received) -> str:
        """The message may have killed its process."""
        if not received.redeliveries:
            return await self._settle(received)
        message = received.message
        crashes = await self.persist(lambda db: attempts.count_crashed(db, message.id)) + 1
        if crashes >= failures.MAX_CRASHES:
            return await self._give_up(received.cloud_event, "poison", failures.poison(crashes), crashes)
        # Alone, so that a message that kills the process is not counted against another one.
        async with self._suspects if received.redeliveries >= SUSPECT_DELIVERIES else contextlib.nullcontext():
            number = await self.persist(lambda db: attempts.insert_attempt(db, message, None))
            try:
                return await self._settle(received)
            finally:
                with contextlib.suppress(Exception):
                    async with self._pool.acquire() as db:
                        await attempts.delete_begun(db, message.id, number)

    async def _fail(self, received: Received, error: Exception) -> str:
        message, cloud_event = received.message, received.cloud_event
        number = max(cloud_event.attempt, await self.persist(lambda db: attempts.count_failed(db, message.id))) + 1
        problem = failures.to_problem(error, number)
        log.warning("failed", attempts=number, error=repr(error), exc_info=error)
        if isinstance(error, failures.PermanentFailure) or number >= failures.MAX_ATTEMPTS:
            return await self._give_up(cloud_event, "failed", problem, number)

        async def write(db: Connection) -> None:
            await attempts.insert_attempt(db, message, problem)
            await self._insert_retry(db, received, number, failures.retry_delay(error, number - 1), problem)

        await self.persist(write)
        return "retried"

    async def _give_up(
        self, cloud_event: Envelope, reason: dead_letters.Reason, problem: Problem, attempts: int
    ) -> str:
        log.error("gave up", reason=reason, attempts=attempts, problem=problem.detail)
        letter = dead_letters.to_dead_letter(
            self.queue,
            cloud_event,
            command=issubclass(self.route.message, Command),
            reason=reason,
            problem=problem,
            attempts=attempts,
        )
        await self.persist(lambda db: dead_letters.give_up(db, letter))
        self._relay.wake()
        return "gave_up"

    async def _retry(self, received: Received, seconds: float, problem: Problem | None, result: str) -> str:
        await self.persist(lambda db: self._insert_retry(db, received, received.cloud_event.attempt, seconds, problem))
        return result

    async def _insert_retry(
        self, db: Connection, received: Received, attempt: int, seconds: float, problem: Problem | None
    ) -> None:
        await outbox.insert_retry(
            db,
            received.message,
            queue=self.queue,
            attempt=attempt,
            seconds=seconds,
            created_at=received.cloud_event.time,
            problem=problem,
        )


def _log_context(received: Received) -> contextlib.AbstractContextManager[None]:
    cloud_event = received.cloud_event
    return structlog.contextvars.bound_contextvars(
        job=cloud_event.subject,
        correlation_id=str(cloud_event.id),
        message=received.message.name(),
        dataset=received.message.dataset,
    )
