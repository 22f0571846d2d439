"""Requests that wait for the end of a job."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog

from services.gateway.http.polling import sleep
from services.gateway.http.problems import not_found
from services.gateway.jobs import kinds, queries
from services.gateway.jobs.announcements import End
from services.gateway.jobs.job import JobBody
from services.gateway.jobs.kinds import to_body
from shared.consumer import Consumer
from shared.contracts.message import Message

POLL_SECONDS = 0.05
"""The pause between two looks at the jobs that end elsewhere: in another gateway, or by a periodic task."""
log = structlog.get_logger()


class JobWaiters:
    """Wakes each request when this process ends its job. One query looks for all jobs that end elsewhere."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._waiting: dict[UUID, set[asyncio.Future[JobBody]]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def wait(self, job_id: UUID, seconds: float, job: JobBody | None = None) -> JobBody:
        """Returns the job once it has ended, the time is up or the process stops. Raises Problem 404.

        A job that was submitted just now is passed as `job`, which saves a query.
        """
        future: asyncio.Future[JobBody] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        try:
            current = job or await self._select(job_id)
            if current.ended or seconds <= 0 or self._consumer.stopping.is_set():
                return current
            if self._polling is None:
                self._polling = asyncio.create_task(self._poll(), name="wait for jobs")
            await asyncio.wait([future], timeout=seconds)
            return future.result() if future.done() and not future.cancelled() else await self._select(job_id)
        finally:
            self._waiting[job_id].discard(future)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def wake(self, messages: Sequence[Message]) -> None:
        """Answers the requests that wait for jobs that have ended; takes the messages of a committed transaction."""
        for message in messages:
            if isinstance(message, End) and message.job_id in self._waiting:
                kind = kinds.find(message.job["kind"])
                self._answer(message.job_id, msgspec.convert(message.job, kind.body if kind.to_body else JobBody))

    def _answer(self, job_id: UUID, job: JobBody) -> None:
        for future in self._waiting.get(job_id, ()):
            if not future.done():
                future.set_result(job)

    async def _select(self, job_id: UUID) -> JobBody:
        async with self._consumer.pool.acquire() as db:
            found = await queries.select_job(db, job_id)
        if found is None:
            raise not_found("job", str(job_id))
        return to_body(*found)

    async def _poll(self) -> None:
        """Looks until nobody waits or the process stops. A failed look loses nothing: the next one sees the same."""
        stopping = self._consumer.stopping
        while self._waiting and not stopping.is_set():
            await sleep(stopping, POLL_SECONDS)
            try:
                async with self._consumer.pool.acquire() as db:
                    ended = await queries.select_ended(db, list(self._waiting))
            except Exception as error:  # noqa: BLE001 - a request whose time is up reports it
                log.warning("waiting for jobs", error=repr(error))
                continue
            for job, now in ended:
                self._answer(job.id, to_body(job, now))
        self._polling = None
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()
