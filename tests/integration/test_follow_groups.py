"""Following in groups: any grouping of the events of several jobs ends as one by one."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.jobs import announcements, follow
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.submit import submit_jobs
from shared.contracts.commands import PlanImport
from shared.contracts.events import ChunkCounted, ChunkIndexed, ChunkLoaded, ImportPlanned
from shared.contracts.parts import Dialect, Outcome
from shared.db import Connection, Pool, transaction
from tests.integration.ingestor_runner import DATASETS, Ingestor, connected
from tests.integration.job_stories import EXAMPLES
from tests.integration.test_follow import PLAIN

Heard = ImportPlanned | ChunkLoaded | ChunkIndexed | ChunkCounted
LINE_BYTES = 10
END_TYPES = {end.name() for end in announcements.ENDS.values()}


class Shape(msgspec.Struct, frozen=True):
    """A job to follow: its dataset, and rows and failed rows of each chunk."""

    dataset: str
    chunks: list[tuple[int, int]]


shapes = st.builds(
    Shape,
    st.sampled_from(["items", "departments", "plain"]),
    st.lists(st.sampled_from([(1, 0), (5, 0), (5, 2), (3, 3)]), max_size=6),
)


@pytest.fixture
async def pool(database: dict[str, str], ingestor: Ingestor) -> AsyncIterator[Pool]:
    await ingestor.declare("plain", PLAIN)
    async with connected(database["gateway"], "gateway", 8) as pool:
        yield pool


async def accept(pool: Pool, shapes: Sequence[Shape]) -> list[UUID]:
    """Submits a job for each shape."""
    commands = [
        PlanImport(
            dataset=shape.dataset,
            job_id=uuid4(),
            file="",
            sha256="",
            bytes_total=0,
            dialect=Dialect(header=False, columns=()),
        )
        for shape in shapes
    ]
    requests = [
        JobRequest(kind="import", command=command, mode="upsert", api_key=None, idempotency_key=None, fingerprint="")
        for command in commands
    ]
    async with transaction(pool) as db:
        await submit_jobs(db, requests)
    return [command.job_id for command in commands]


def happened(shape: Shape, job_id: UUID) -> list[Heard]:
    """Returns the events of all services about a job."""
    of_job: dict[str, Any] = {"dataset": shape.dataset, "job_id": job_id}
    size = sum(rows for rows, _ in shape.chunks) * LINE_BYTES
    events: list[Heard] = [ImportPlanned(**of_job, chunks=len(shape.chunks), bytes=size)]
    for chunk, (rows, failed) in enumerate(shape.chunks, 1):
        outcome = Outcome(rows_read=rows, inserted=rows - failed, failed=failed)
        events.append(
            ChunkLoaded(**of_job, chunk=chunk, ledger=chunk, version=chunk, bytes=rows * LINE_BYTES, outcome=outcome)
        )
        declared = DATASETS.get(shape.dataset)
        if declared is not None and declared.search is not None:
            events.append(ChunkIndexed(**of_job, chunk=chunk, documents=rows))
        if declared is not None and declared.rollups:
            events.append(ChunkCounted(**of_job, chunk=chunk, groups=1))
    return events


async def hear(db: Connection, group: Sequence[Any]) -> JobEvents:
    """Hands the events, which are of one type, to their handler."""
    match group[0]:
        case ImportPlanned():
            (planned,) = group
            return await follow.follow_planned(planned, db)
        case ChunkLoaded():
            return await follow.follow_loaded(group, db)
        case ChunkIndexed():
            return await follow.follow_indexed(group, db)
        case _:
            return await follow.follow_counted(group, db)


async def deliver(pool: Pool, events: Sequence[Heard], chance: random.Random, most: int) -> None:
    """Delivers the events in random groups of one type, of up to `most`, and some of them again."""
    waiting = [*events, *chance.sample(events, len(events) // 4)]
    chance.shuffle(waiting)
    while waiting:
        kind = type(waiting[0])
        size = 1 if kind is ImportPlanned else chance.randint(1, most)
        group = [event for event in waiting if isinstance(event, kind)][:size]
        for event in group:
            waiting.remove(event)
        async with transaction(pool) as db:
            await hear(db, group)


async def ends(pool: Pool, job_ids: Sequence[UUID]) -> list[Any]:
    """Returns what is stored of each job, but for ids, times, and progress in between."""
    found = []
    for job_id in job_ids:
        job = await pool.fetchrow(
            "SELECT status, phase, version, bytes_total, bytes_planned, bytes_done, chunks, percent, outcome, error,"
            " sequence, started_at IS NULL, finished_at IS NULL FROM jobs WHERE id = $1",
            job_id,
        )
        marks = await pool.fetch("SELECT * FROM chunks WHERE job_id = $1 ORDER BY chunk", job_id)
        events = await pool.fetch("SELECT type, sequence, data FROM events WHERE job_id = $1 ORDER BY sequence", job_id)
        assert job is not None
        types = [event["type"] for event in events]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert job["sequence"] == len(events)
        assert types[:2] == ["job.created", "job.started"]
        assert sum(kind in END_TYPES for kind in types) == (types[-1] in END_TYPES)
        assert events[-1]["data"]["status"] == job["status"]
        found.append([[*job], [[*mark][1:] for mark in marks], types])
    return found


@EXAMPLES
@given(shapes=st.lists(shapes, min_size=1, max_size=5), seed=st.integers(0, 1 << 32))
async def test_any_grouping_of_events_ends_as_one_by_one(pool: Pool, shapes: list[Shape], seed: int) -> None:
    results = []
    for most in (1, 100):
        chance = random.Random(seed + most)
        job_ids = await accept(pool, shapes)
        events = [event for job_id, shape in zip(job_ids, shapes, strict=True) for event in happened(shape, job_id)]
        await deliver(pool, events, chance, most)
        results.append(await ends(pool, job_ids))
    singly, grouped = results
    assert grouped == singly
    assert all(types[-1] in END_TYPES for _, _, types in singly)


async def test_groups_of_all_queues_at_once_wait_in_no_circle(pool: Pool) -> None:
    chance = random.Random(1)
    shapes = [Shape("items", [(5, 1)] * 8) for _ in range(12)]
    job_ids = await accept(pool, shapes)
    events = [event for job_id, shape in zip(job_ids, shapes, strict=True) for event in happened(shape, job_id)]
    queues: list[list[Heard]] = [
        [event for event in events if isinstance(event, kind)] for kind in (ChunkLoaded, ChunkIndexed, ChunkCounted)
    ]
    planned: list[Heard] = [event for event in events if isinstance(event, ImportPlanned)]
    await asyncio.gather(*(deliver(pool, queue, chance, 40) for queue in [planned, *queues, *queues]))
    for job, marks, types in await ends(pool, job_ids):
        assert job[0] == "partial"
        assert len(marks) == 8
        assert types[-1] == "job.partial"


@pytest.mark.parametrize(
    ("dataset", "readers", "marks"),
    [
        ("items", (), (True, True)),
        ("items", ("indexer",), (False, True)),
        ("plain", ("indexer", "analytics"), (False, False)),
        ("items", None, (False, False)),
        ("plain", None, (True, True)),
    ],
)
async def test_a_chunk_waits_for_the_readers_that_its_event_names(
    pool: Pool, dataset: str, readers: tuple[str, ...] | None, marks: tuple[bool, bool]
) -> None:
    shape = Shape(dataset, [(1, 0)])
    (job_id,) = await accept(pool, [shape])
    (loaded,) = (event for event in happened(shape, job_id) if isinstance(event, ChunkLoaded))
    async with transaction(pool) as db:
        await hear(db, [msgspec.structs.replace(loaded, readers=readers)])
        row = await db.fetchrow("SELECT indexed, counted FROM chunks WHERE job_id = $1", job_id)
    assert row is not None
    assert (*row,) == marks


async def test_a_group_of_events_of_one_job_is_one_step(pool: Pool) -> None:
    shape = Shape("plain", [(1, 0)] * 5)
    (job_id,) = await accept(pool, [shape])
    planned, *loaded = happened(shape, job_id)
    async with transaction(pool) as db:
        await hear(db, [planned])
        events = await hear(db, [*loaded, *loaded])
    assert [event.name() for event in events] == ["job.succeeded"]
    assert await follow_stranger(pool) == []


async def follow_stranger(pool: Pool) -> JobEvents:
    """Follows an event of a job that does not exist."""
    (loaded,) = happened(Shape("plain", [(1, 0)]), uuid4())[1:]
    async with transaction(pool) as db:
        return await hear(db, [loaded])
