"""The public event log: ids in the order in which events become visible, and no lock that a paused process keeps."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from services.gateway.jobs import event_log
from shared.contracts.events import JobCreated, JobStarted
from shared.db import Pool, transaction
from tests.integration.ingestor_runner import connected

WRITERS, EVENTS = 8, 12


@pytest.fixture
async def pool(database: dict[str, str]) -> AsyncIterator[Pool]:
    async with connected(database["gateway"], "tests", WRITERS + 4) as pool:
        yield pool


def created(job_id: UUID) -> JobCreated:
    return JobCreated(dataset="items", job_id=job_id, sequence=1, job={})


async def read(pool: Pool, job_id: UUID, after: int = 0) -> list[event_log.StoredEvent]:
    async with pool.acquire() as db:
        return await event_log.select_events(db, job_id, after, 100)


async def test_a_transaction_that_is_paused_holds_nobody_up(pool: Pool) -> None:
    paused, other = uuid4(), uuid4()
    async with transaction(pool) as db:
        await event_log.insert_events(db, [created(paused)])
        async with transaction(pool) as another:
            await another.execute("SET LOCAL lock_timeout = '1s'")
            await event_log.insert_events(another, [created(other)])
        (seen,) = await read(pool, other)
        assert await read(pool, paused) == []
    (late,) = await read(pool, paused)
    assert late.id > seen.id


async def test_a_reader_misses_no_event_whatever_commits_in_the_meantime(pool: Pool) -> None:
    job_id = uuid4()
    seen: list[int] = []

    async def write(number: int) -> None:
        for step in range(EVENTS):
            event = JobStarted(dataset="items", job_id=job_id, sequence=number * EVENTS + step + 1, job={})
            async with transaction(pool) as db:
                await event_log.insert_events(db, [event])
                await db.execute("SELECT pg_sleep(random() / 100)")

    async def follow() -> None:
        while len(seen) < WRITERS * EVENTS:
            seen.extend(event.id for event in await read(pool, job_id, max(seen, default=0)))

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(number) for number in range(WRITERS)), follow(), follow_other(pool))
    assert len(set(seen)) == WRITERS * EVENTS
    assert seen == sorted(seen)


async def follow_other(pool: Pool) -> None:
    """Another gateway that assigns ids too."""
    for _ in range(100):
        await event_log.run(pool)


async def test_the_events_of_a_job_have_ids_in_their_order(pool: Pool) -> None:
    job_id = uuid4()
    async with transaction(pool) as db:
        started = JobStarted(dataset="items", job_id=job_id, sequence=2, job={})
        await event_log.insert_events(db, [started, created(job_id)])
    assert [event.type for event in await read(pool, job_id)] == ["job.created", "job.started"]
