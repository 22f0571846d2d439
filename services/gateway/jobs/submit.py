"""Submits jobs: each job commits together with its first event and its command, and many jobs share one commit.

While one transaction commits, new requests gather for the next. No request waits for a timer, and under load hundreds
of requests share one commit.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from uuid import UUID

import msgspec

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem
from services.gateway.jobs import event_log, exclusive, kinds, queries
from services.gateway.jobs.announcements import to_event
from services.gateway.jobs.job import Job, JobRequest
from services.gateway.jobs.waiters import JobWaiters
from shared.bus import outbox
from shared.consumer import Consumer
from shared.contracts.events import JobCreated
from shared.db import Connection, Pool, transaction

MAX_GROUP = 500
"""Requests in one transaction."""
MAX_ROUNDS = 10
"""Attempts to insert a job whose conflicting job has disappeared each time."""


class Submission(msgspec.Struct, frozen=True):
    """The outcome of a request for a job.

    `replayed` if an earlier request had the same idempotency key; `attached` if the request joined a running job.
    """

    job: Job
    replayed: bool = False
    attached: bool = False


Pending = tuple[JobRequest, asyncio.Future[Submission]]


class JobSubmitter:
    """Takes requests one by one and submits them in groups."""

    def __init__(self, consumer: Consumer, catalog: Catalog, waiters: JobWaiters) -> None:
        self.catalog = catalog
        self.waiters = waiters
        self._consumer = consumer
        self._pending: list[Pending] = []
        self._draining: asyncio.Task[None] | None = None

    @property
    def pool(self) -> Pool:
        """Raises RuntimeError before the service runs."""
        return self._consumer.pool

    async def submit(self, request: JobRequest) -> Submission:
        """Creates or finds the request's job. Raises Problem 422 if the idempotency key belongs to another request."""
        future: asyncio.Future[Submission] = asyncio.get_running_loop().create_future()
        self._pending.append((request, future))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="submit")
        return await future

    async def _drain(self) -> None:
        while self._pending:
            group, self._pending = self._pending[:MAX_GROUP], self._pending[MAX_GROUP:]
            try:
                await self._commit(group)
            except Exception as error:  # noqa: BLE001 - the request's future gets it
                if len(group) == 1:
                    _fail(group[0], error)
                    continue
                # One bad request must not fail the others.
                for pending in group:
                    try:
                        await self._commit([pending])
                    except Exception as own:  # noqa: BLE001 - as above
                        _fail(pending, own)
        self._draining = None

    async def _commit(self, group: Sequence[Pending]) -> None:
        async with transaction(self._consumer.pool) as db:
            results = await submit_jobs(db, [request for request, _ in group])
        if any(isinstance(result, Submission) and not (result.replayed or result.attached) for result in results):
            self._consumer.relay.wake()
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Problem):
                future.set_exception(result)
            else:
                future.set_result(result)


async def submit_jobs(db: Connection, requests: Sequence[JobRequest]) -> list[Submission | Problem]:
    """Returns one result per request. Runs in the caller's transaction; the caller wakes the relay after the commit."""
    results: dict[UUID, Submission | Problem] = {}
    created: dict[UUID, Job] = {}
    for request in requests:
        if (earlier := await _find_attached(db, request)) is not None:
            results[request.command.job_id] = earlier
    for _ in range(MAX_ROUNDS):
        if not (open_requests := [request for request in requests if request.command.job_id not in results]):
            break
        inserted = {job.id: job for job in await queries.insert_jobs(db, open_requests)}
        created |= inserted
        results |= {job_id: Submission(job) for job_id, job in inserted.items()}
        for request in open_requests:
            if request.command.job_id in inserted:
                await _join(db, request, request.command.job_id)
        for request in open_requests:
            job_id = request.command.job_id
            if job_id not in results and (existing := await _find_conflict(db, request)) is not None:
                results[job_id] = existing
    if created:
        commands = [request.command for request in requests if request.command.job_id in created]
        events = [to_event(JobCreated, job, job.created_at) for job in created.values()]
        await event_log.insert_events(db, events)
        await outbox.insert_messages(db, [*commands, *events])
    return [results[request.command.job_id] for request in requests]


def uuid7() -> UUID:
    """Returns an id that sorts by time (RFC 9562). The host's clock is precise enough: only lists sort by it."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & ((1 << 62) - 1))


async def _find_attached(db: Connection, request: JobRequest) -> Submission | Problem | None:
    """Returns the job that an earlier request with this idempotency key joined."""
    if request.target is None or request.api_key is None or request.idempotency_key is None:
        return None
    attached = await exclusive.select_attached(db, request.api_key, request.idempotency_key)
    if attached is None:
        return None
    job_id, fingerprint = attached
    row = await queries.select_job(db, job_id) if fingerprint == request.fingerprint else None
    return Submission(row[0], replayed=True, attached=True) if row else _reused()


async def _find_conflict(db: Connection, request: JobRequest) -> Submission | Problem | None:
    """Returns the conflicting job, or None if it has finished in the meantime."""
    # An earlier commit may have succeeded although the connection was lost before the confirmation.
    if own := await queries.select_job(db, request.command.job_id):
        return Submission(own[0])
    if request.api_key is not None and request.idempotency_key is not None:
        earlier = await queries.select_by_idempotency_key(db, request.api_key, request.idempotency_key)
        if earlier is not None:
            job, fingerprint = earlier
            return Submission(job, replayed=True) if fingerprint == request.fingerprint else _reused()
    if request.target is None:
        return None
    job_id = await exclusive.select_running(db, request)
    row = await queries.select_job(db, job_id) if job_id else None
    if row is None or not await _join(db, request, row[0].id):
        return None
    if request.idempotency_key is not None:
        await exclusive.insert_attached(db, request, row[0].id)
    return Submission(row[0], attached=True)


async def _join(db: Connection, request: JobRequest, job_id: UUID) -> bool:
    join = kinds.find(request.kind).join
    return join is None or await join(db, request, job_id)


def _reused() -> Problem:
    return Problem(
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used before with another body or other parameters.",
        hint="Use a new key for a new request; a key binds for 24 hours.",
    )


def _fail(pending: Pending, error: Exception) -> None:
    _, future = pending
    if not future.done():
        future.set_exception(error)
