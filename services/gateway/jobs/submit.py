"""How jobs are accepted: the job, its first event and its command commit together, for many requests at once.

While one transaction commits, the requests that come in gather for the next: no request waits for a timer, and under
load a hundred of them share one commit.
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
from services.gateway.jobs.job import Job, JobRequest
from services.gateway.jobs.kinds import to_body
from shared.bus import outbox
from shared.consumer import Consumer
from shared.contracts.events import JobCreated
from shared.db import Connection, Pool, transaction

AT_ONCE = 500
ROUNDS = 10
"""How often in a row what is in the way may be gone before it is looked at."""


class Accepted(msgspec.Struct, frozen=True):
    """The job; `replayed` if the same request had been accepted before, `attached` if it asked for what ran already."""

    job: Job
    replayed: bool = False
    attached: bool = False


class JobSubmitter:
    """Takes requests one by one and accepts them in groups."""

    def __init__(self, consumer: Consumer, catalog: Catalog) -> None:
        self.catalog = catalog
        self._consumer = consumer
        self._waiting: list[tuple[JobRequest, asyncio.Future[Accepted]]] = []
        self._draining: asyncio.Task[None] | None = None

    @property
    def pool(self) -> Pool:
        """Raises RuntimeError before the service runs."""
        return self._consumer.pool

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the process is asked to end."""
        return self._consumer.stopping

    async def accept(self, asked: JobRequest) -> Accepted:
        """Raises Problem 422 if the idempotency key came with another request before."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="accept")
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            try:
                await self._settle(group)
            except Exception as error:  # noqa: BLE001 - each request is told what happened to it
                if len(group) == 1:
                    _fail(group[0][1], error)
                    continue
                # Whatever one of them did must not befall the others.
                for one in group:
                    try:
                        await self._settle([one])
                    except Exception as own:  # noqa: BLE001 - as above
                        _fail(one[1], own)
        self._draining = None

    async def _settle(self, group: Sequence[tuple[JobRequest, asyncio.Future[Accepted]]]) -> None:
        async with transaction(self._consumer.pool) as db:
            settled = await accept(db, [asked for asked, _ in group])
        self._consumer.relay.wake()
        for (_, future), result in zip(group, settled, strict=True):
            if future.done():
                continue
            if isinstance(result, Problem):
                future.set_exception(result)
            else:
                future.set_result(result)


async def accept(db: Connection, asked: Sequence[JobRequest]) -> list[Accepted | Problem]:
    """In the transaction of the caller, who wakes the relay after it."""
    settled: dict[UUID, Accepted | Problem] = {}
    created: dict[UUID, Job] = {}
    for one in asked:
        if (before := await _attached_before(db, one)) is not None:
            settled[one.command.job_id] = before
    for _ in range(ROUNDS):
        if not (waiting := [one for one in asked if one.command.job_id not in settled]):
            break
        inserted = {job.id: job for job in await queries.insert_jobs(db, waiting)}
        created |= inserted
        settled |= {number: Accepted(job) for number, job in inserted.items()}
        for one in waiting:
            if one.command.job_id in inserted:
                await _join(db, one, one.command.job_id)
        for one in waiting:
            if one.command.job_id not in settled and (other := await _other(db, one)) is not None:
                settled[one.command.job_id] = other
    if created:
        commands = [one.command for one in asked if one.command.job_id in created]
        events = [_created(job) for job in created.values()]
        await event_log.insert_events(db, events)
        await outbox.insert_messages(db, [*commands, *events])
    return [settled[one.command.job_id] for one in asked]


def uuid7() -> UUID:
    """Sortable by time (RFC 9562). The host's clock is good enough: only the order of a list follows it."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & ((1 << 62) - 1))


async def _attached_before(db: Connection, one: JobRequest) -> Accepted | Problem | None:
    if one.target is None or one.api_key is None or one.idempotency_key is None:
        return None
    before = await exclusive.select_attached(db, one.api_key, one.idempotency_key)
    if before is None:
        return None
    found = await queries.select_job(db, before[0]) if before[1] == one.fingerprint else None
    return Accepted(found[0], replayed=True, attached=True) if found else _reused()


async def _other(db: Connection, one: JobRequest) -> Accepted | Problem | None:
    """What kept it from being inserted; None if that is gone again, as a job is that has ended meanwhile."""
    # Its own commit may have passed although the connection was lost before it said so.
    if own := await queries.select_job(db, one.command.job_id):
        return Accepted(own[0])
    if one.api_key is not None and one.idempotency_key is not None:
        before = await queries.select_asked(db, one.api_key, one.idempotency_key)
        if before is not None:
            return Accepted(before[0], replayed=True) if before[1] == one.fingerprint else _reused()
    if one.target is None:
        return None
    job_id = await exclusive.select_running(db, one)
    found = await queries.select_job(db, job_id) if job_id else None
    if found is None or not await _join(db, one, found[0].id):
        return None
    if one.idempotency_key is not None:
        await exclusive.insert_attached(db, one, found[0].id)
    return Accepted(found[0], attached=True)


async def _join(db: Connection, request: JobRequest, job_id: UUID) -> bool:
    join = kinds.find(request.kind).join
    return join is None or await join(db, request, job_id)


def _reused() -> Problem:
    return Problem(
        422,
        "idempotency_key_reused",
        "This Idempotency-Key came with another content or other parameters before.",
        hint="Use a new key for a new request; a key binds for 24 hours.",
    )


def _created(job: Job) -> JobCreated:
    body = msgspec.to_builtins(to_body(job, job.created_at))
    return JobCreated(dataset=job.dataset, job_id=job.id, sequence=job.sequence, job=body)


def _fail(future: asyncio.Future[Accepted], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
