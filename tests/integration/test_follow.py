"""Job progress in the gateway: the result does not depend on the order or the repetition of events."""

import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from services.gateway.http.problems import Problem
from services.gateway.jobs import event_log, follow, queries
from services.gateway.jobs.job import Job, JobRequest
from services.gateway.jobs.submit import Submission, submit_jobs
from shared.bus import inbox
from shared.contracts.commands import LoadRows, PlanImport
from shared.contracts.events import (
    ChunkCounted,
    ChunkIndexed,
    ChunkLoaded,
    ImportPlanned,
    ImportStopped,
    JobFailed,
    JobPartial,
    JobSucceeded,
)
from shared.contracts.message import Message
from shared.contracts.parts import LoadOptions
from shared.db import Connection, Pool
from tests.integration.ingestor_runner import UPSERT, Ingestor, JobEnd, connected
from tests.integration.reader_runners import Analytics, Indexer

Heard = ImportPlanned | ChunkLoaded | ChunkIndexed | ChunkCounted | ImportStopped
ENDS = (JobSucceeded, JobPartial, JobFailed)
PLAIN = {
    "title": "Neither searched nor summed up",
    "primary_key": ["id"],
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "string"},
        {"name": "price", "type": "integer"},
    ],
}
BATCH = ('{"id":1,"name":"One","price":1}', '{"id":2,"name":"Two","price":1}', '{"id":"x"}')


class Gateway:
    """The handlers of the gateway, as its own role."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.pool.acquire() as db, db.transaction():
            yield db

    async def accept(self, *request: JobRequest) -> list[Submission | Problem]:
        async with self.transaction() as db:
            return await submit_jobs(db, request)

    async def hear(self, event: Heard) -> list[Message]:
        """As `Delivery` has it: once, however often it comes."""
        async with self.transaction() as db:
            if not await inbox.claim(db, event.id, event.name()):
                return []
            match event:
                case ImportPlanned():
                    return [*await follow.follow_planned(event, db)]
                case ImportStopped():
                    return [*await follow.follow_stopped(event, db)]
                case ChunkLoaded():
                    return [*await follow.follow_loaded([event], db)]
                case ChunkIndexed():
                    return [*await follow.follow_indexed([event], db)]
                case ChunkCounted():
                    return [*await follow.follow_counted([event], db)]

    async def job(self, job_id: UUID) -> Job:
        async with self.transaction() as db:
            found = await queries.select_job(db, job_id)
        assert found is not None
        return found[0]


@pytest.fixture
async def gateway(database: dict[str, str], ingestor: Ingestor) -> AsyncIterator[Gateway]:
    del ingestor  # which has declared the catalog
    async with connected(database["gateway"], "gateway", 8) as pool:
        yield Gateway(pool)


def importing(command: PlanImport) -> JobRequest:
    return JobRequest(
        kind="import",
        command=command,
        mode=command.load_options.mode,
        api_key=None,
        idempotency_key=None,
        fingerprint="",
        bytes_total=command.bytes_total,
    )


def batch(
    *rows: str,
    dataset: str = "items",
    load_options: LoadOptions = UPSERT,
    key: tuple[str, str] | None = None,
    fingerprint: str = "",
) -> JobRequest:
    raws = tuple(msgspec.Raw(row.encode()) for row in rows)
    command = LoadRows(
        dataset=dataset, job_id=uuid4(), rows=raws, columns=("id", "name", "price"), load_options=load_options
    )
    return JobRequest(
        kind="rows",
        command=command,
        mode=load_options.mode,
        api_key=key[0] if key else None,
        idempotency_key=key[1] if key else None,
        fingerprint=fingerprint,
        bytes_total=sum(map(len, rows)),
        chunks=1,
    )


def departments(*names: str) -> str:
    return "".join(f"{number},{name}\n" for number, name in enumerate(names, 1))


async def happened(
    request: JobRequest, ingestor: Ingestor, indexer: Indexer, analytics: Analytics, chance: random.Random | None = None
) -> tuple[list[Heard], JobEnd]:
    """Everything that the others say of a job until it is done."""
    command = request.command
    heard: list[Heard] = []
    if isinstance(command, PlanImport):
        first, planned = await ingestor.split(command, chunk_bytes=30)
        heard.append(planned)
        ended = await ingestor.follow(first, chance)
    else:
        assert isinstance(command, LoadRows)
        ended = await ingestor.follow([command])
    for event in ended.loaded:
        heard.append(event)
        readers = event.readers or ()
        heard += await indexer.index(event) if "indexer" in readers else []
        heard += await analytics.count(event) if "analytics" in readers else []
    if ended.stopped:
        heard.append(ended.stopped)
    return heard, ended


TEXT = departments(*"ABCDEFGH")
BROKEN = TEXT + "x,bad\n" + TEXT.replace("A", "Z")
CASES: dict[str, tuple[str, LoadOptions, str, str]] = {
    "upsert": (TEXT, LoadOptions(), "succeeded", ""),
    "insert": ("1,Taken\n" + TEXT, LoadOptions(mode="insert"), "succeeded", ""),
    "partial": (BROKEN, LoadOptions(), "partial", ""),
    "replace": (BROKEN, LoadOptions(mode="replace"), "partial", ""),
    "empty": ("", LoadOptions(), "succeeded", ""),
    "replaced by nothing": ("", LoadOptions(mode="replace"), "succeeded", ""),
    "validated": (BROKEN, LoadOptions(validate_only=True), "partial", ""),
    "only bad rows": ("x,bad\n,\n", LoadOptions(), "failed", "all_rows_failed"),
    "too many errors": (BROKEN, LoadOptions(max_errors=0), "failed", "too_many_errors"),
    "too many errors in the end": (TEXT + "x,bad\n", LoadOptions(max_errors=0), "failed", "too_many_errors"),
    "nothing replaced": (BROKEN, LoadOptions(mode="replace", max_errors=0), "failed", "too_many_errors"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
async def test_an_import_ends_the_same_in_whatever_order_it_is_heard_of(
    gateway: Gateway, ingestor: Ingestor, indexer: Indexer, analytics: Analytics, case: str, seed: int
) -> None:
    chance = random.Random(seed)
    text, load_options, status, code = CASES[case]
    request = importing(ingestor.command("departments", text, load_options))
    await gateway.accept(request)
    heard, ended = await happened(request, ingestor, indexer, analytics, chance)
    job_id = request.command.job_id
    ends = await deliver(gateway, heard, chance)
    job = await gateway.job(job_id)
    assert (job.status, job.error.code if job.error else "") == (status, code)
    assert job.outcome == ended.outcome
    assert job.outcome.balanced()
    assert [type(end) for end in ends] == [
        {"succeeded": JobSucceeded, "partial": JobPartial, "failed": JobFailed}[status]
    ]


async def deliver(gateway: Gateway, heard: Sequence[Heard], chance: random.Random) -> list[Message]:
    """In any order, and some of it twice. Returns the public events of the end."""
    deliveries = [*heard, *chance.sample(heard, len(heard) // 3)]
    chance.shuffle(deliveries)
    messages = [message for event in deliveries for message in await gateway.hear(event)]
    return [message for message in messages if isinstance(message, ENDS)]


ONE_CHUNK = {
    "strict": LoadOptions(strict=True),
    "budget": LoadOptions(max_errors=0),
}


@pytest.mark.parametrize(("dataset", "events"), [("items", 4), ("plain", 2)])
@pytest.mark.parametrize("load_options", ONE_CHUNK.values(), ids=ONE_CHUNK)
async def test_a_batch_that_is_stopped_has_failed_in_whatever_order_that_is_heard(
    gateway: Gateway,
    ingestor: Ingestor,
    indexer: Indexer,
    analytics: Analytics,
    load_options: LoadOptions,
    dataset: str,
    events: int,
) -> None:
    await ingestor.declare("plain", PLAIN)
    for number, order in enumerate(itertools.permutations(range(events))):
        rows = (row.replace("One", f"One {number}").replace("Two", f"Two {number}") for row in BATCH)
        request = batch(*rows, dataset=dataset, load_options=load_options)
        await gateway.accept(request)
        heard, _ = await happened(request, ingestor, indexer, analytics)
        assert len(heard) == events
        messages = [message for place in order for message in await gateway.hear(heard[place])]
        job = await gateway.job(request.command.job_id)
        assert job.error is not None, [type(heard[place]).__name__ for place in order]
        assert job.error.code == ("rows_refused" if load_options.strict else "too_many_errors")
        assert (job.outcome.rows_read, job.outcome.failed) == (3, 1)
        assert [type(message) for message in messages if isinstance(message, ENDS)] == [JobFailed]


@pytest.mark.parametrize(
    ("dataset", "readers", "waits"),
    [
        ("items", (), False),  # declared after the chunk was loaded
        ("items", ("indexer",), True),
        ("plain", ("analytics",), True),  # declared until then
        ("items", None, True),
        ("plain", None, False),
    ],
)
async def test_a_batch_waits_for_the_readers_of_its_chunk_or_else_for_the_declared_ones(
    gateway: Gateway, ingestor: Ingestor, dataset: str, readers: tuple[str, ...] | None, *, waits: bool
) -> None:
    await ingestor.declare("plain", PLAIN)
    request = batch(*BATCH[:2], dataset=dataset)
    await gateway.accept(request)
    assert isinstance(request.command, LoadRows)
    (event,) = (await ingestor.follow([request.command])).loaded
    messages = await gateway.hear(msgspec.structs.replace(event, readers=readers))
    assert [type(message) for message in messages if isinstance(message, ENDS)] == ([] if waits else [JobSucceeded])


async def test_of_equal_keys_in_a_group_one_is_accepted_and_the_others_are_replays(
    gateway: Gateway, database: dict[str, str]
) -> None:
    await make_key(database, "key")
    one, same, other = (batch(BATCH[0], key=("key", "twice"), fingerprint=print_) for print_ in ("one", "one", "other"))
    free = batch(BATCH[1])
    settled = await gateway.accept(one, same, other, free)
    accepted = [result for result in settled if isinstance(result, Submission)]
    assert [(result.job.id, result.replayed) for result in accepted] == [
        (one.command.job_id, False),
        (one.command.job_id, True),
        (free.command.job_id, False),
    ]
    (refused,) = (result for result in settled if isinstance(result, Problem))
    assert settled.index(refused) == 2
    assert refused.code == "idempotency_key_reused"
    await event_log.run(gateway.pool)
    events = await gateway.pool.fetch("SELECT id, job_id, type FROM events ORDER BY id")
    assert [row["id"] for row in events] == [1, 2]
    assert {(row["job_id"], row["type"]) for row in events} == {
        (request.command.job_id, "job.created") for request in (one, free)
    }
    outbox_messages = await gateway.pool.fetch("SELECT name, subject FROM outbox WHERE name = 'load_rows'")
    assert {row["subject"] for row in outbox_messages} == {str(one.command.job_id), str(free.command.job_id)}


async def make_key(database: dict[str, str], name: str) -> None:
    admin = await asyncpg.connect(database["admin"])
    try:
        await admin.execute("INSERT INTO gateway.api_keys (id, name, hash, scope) VALUES ($1, $1, '', 'write')", name)
    finally:
        await admin.close()
