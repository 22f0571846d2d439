"""Detaching a year: it is no longer read, found or summed up, and nothing of it is lost."""

import asyncio
import datetime as dt
import random
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from services.ingestor import chunk_ledger
from services.ingestor.tables import detach as detaching
from services.ingestor.tables.detach import detach_partition, plan_detach
from services.ingestor.write import partitions
from shared.bus import inbox
from shared.bus.failures import NotReady, PermanentFailure, TransientFailure
from shared.contracts.commands import DetachPartition, LoadRows, PlanDetach, SwapStage
from shared.contracts.events import ChunkLoaded, ImportPlanned
from shared.contracts.parts import LoadOptions, Outcome
from shared.db import Connection
from tests.integration.ingestor_runner import DATASETS, Ingestor, connected, somebody_waits
from tests.integration.reader_runners import Analytics, Indexer
from tests.waiting import eventually

HIRED = "hired_employees"
SECONDS = 20.0
PLAIN: dict[str, Any] = {
    "title": "Neither searched nor summed up, and without a key",
    "partition_by": {"field": "day", "every": "year"},
    "fields": [
        {"name": "day", "type": "date", "required": True},
        {"name": "note", "type": "string", "default": "nothing"},
    ],
}


def hired(*rows: tuple[int, str, int]) -> str:
    """Id, name and year of each."""
    return "".join(f"{number},{name},{year}-06-01T00:00:00Z,1,{number % 3 + 1}\n" for number, name, year in rows)


async def plan(ingestor: Ingestor, year: int, dataset: str = HIRED) -> DetachPartition:
    """What the ingestor asks itself then."""
    command = PlanDetach(dataset=dataset, job_id=uuid4(), year=year)
    async with ingestor.transaction() as db:
        assert await inbox.claim(db, command.id, command.name())
        detach, planned = await plan_detach(command, db)
    assert isinstance(detach, DetachPartition)
    assert planned == ImportPlanned(dataset=dataset, job_id=command.job_id, chunks=1, bytes=0)
    return detach


async def hear(ingestor: Ingestor, command: DetachPartition) -> ChunkLoaded | None:
    """As `Delivery` has it: once, and all or nothing."""
    async with ingestor.transaction() as db:
        return await detach_partition(command, db) if await inbox.claim(db, command.id, command.name()) else None


async def detach(ingestor: Ingestor, year: int, dataset: str = HIRED) -> ChunkLoaded:
    event = await hear(ingestor, await plan(ingestor, year, dataset))
    assert event is not None
    return event


async def names(ingestor: Ingestor, table: str = f"data.{HIRED}") -> set[str]:
    return {row["name"] for row in await ingestor.pool.fetch(f"SELECT name FROM {table}")}


async def tables(ingestor: Ingestor) -> set[str]:
    rows = await ingestor.pool.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables"
        " WHERE schemaname = 'detached' OR schemaname = 'data' AND tablename ~ '__[0-9]{4}$'"
    )
    return {row["name"] for row in rows}


async def everything(ingestor: Ingestor) -> list[Any]:
    """All that a detachment writes."""
    rows = [
        await ingestor.pool.fetch(f"SELECT * FROM {table} x ORDER BY x::text")
        for table in (f"data.{HIRED}", "chunks", "replaced", "datasets", "imports")
    ]
    return [*rows, await tables(ingestor)]


async def heard(analytics: Analytics, indexer: Indexer, events: Iterable[ChunkLoaded], chance: random.Random) -> None:
    """In any order, some of it twice; in the end everything is as the table has it."""
    events = list(events)
    for one in (analytics, indexer):
        deliveries = [*events, *chance.sample(events, len(events) // 4)]
        chance.shuffle(deliveries)
        for event in deliveries:
            await one.hear(event)
    assert await indexer.documents(HIRED) == await indexer.recomputed(HIRED)
    assert await analytics.rollup(HIRED) == await analytics.recomputed(HIRED)


async def test_the_rows_of_the_year_leave_and_stay_in_a_table_of_their_own(ingestor: Ingestor) -> None:
    loaded = (await ingestor.do(HIRED, hired((1, "ada", 2020), (2, "bob", 2021), (3, "cid", 2021)))).loaded
    before = await ingestor.pool.fetch(f"SELECT * FROM data.{HIRED}__2021 ORDER BY id")
    event = await detach(ingestor, 2021)
    assert event.outcome == Outcome(deleted=2)
    assert event.outcome.balanced()
    assert (event.chunk, event.bytes, event.version) == (1, 0, max(one.version for one in loaded) + 1)
    assert await names(ingestor) == {"ada"}
    assert await tables(ingestor) == {f"data.{HIRED}__2020", f"detached.{HIRED}__2021"}
    assert await ingestor.pool.fetch(f"SELECT * FROM detached.{HIRED}__2021 ORDER BY id") == before


@pytest.mark.parametrize("service", ["gateway", "indexer", "analytics", "ingestor"])
async def test_everybody_who_could_read_the_rows_can_read_them_still(
    ingestor: Ingestor, database: dict[str, str], service: str
) -> None:
    await ingestor.do(HIRED, hired((2, "bob", 2021)))
    await detach(ingestor, 2021)
    async with connected(database[service], service, 1) as pool:
        assert await pool.fetchval(f"SELECT name FROM detached.{HIRED}__2021 WHERE id = 2") == "bob"


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_was_heard_by_then_in_whatever_order_all_agree_afterwards(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, seed: int
) -> None:
    chance = random.Random(seed)

    def lines() -> str:
        rows = [(chance.randint(1, 20), chance.choice(["ada", "bob", "cid dee"]), chance.choice([2020, 2021, 2022]))]
        rows += [(chance.randint(1, 20), chance.choice(["eve", "fay"]), 2021) for _ in range(chance.randint(3, 15))]
        return hired(*rows)

    events: list[ChunkLoaded] = []
    for _ in range(chance.randint(1, 3)):
        events += (await ingestor.do(HIRED, lines(), chance=chance)).loaded
    early = chance.sample(events, len(events) // 2)
    for event in early:
        await analytics.hear(event)
    for event in chance.sample(events, len(events) // 2):
        await indexer.hear(event)
    events.append(await detach(ingestor, 2021))
    assert 2021 not in {row["hired_at"].year for row in await ingestor.rows(HIRED)}
    if chance.random() < 0.7:  # the year comes back
        events += (await ingestor.do(HIRED, lines(), chance=chance)).loaded
    await heard(analytics, indexer, events, chance)


async def test_a_file_with_rows_of_the_year_creates_it_again(ingestor: Ingestor) -> None:
    await ingestor.do(HIRED, hired((2, "bob", 2021)))
    await detach(ingestor, 2021)
    assert (await ingestor.do(HIRED, hired((2, "bob", 2021), (3, "cid", 2021)))).outcome.inserted == 2
    assert await names(ingestor) == {"bob", "cid"}
    assert await tables(ingestor) == {f"data.{HIRED}__2021", f"detached.{HIRED}__2021"}


async def test_a_table_that_was_detached_before_is_not_written_over(
    ingestor: Ingestor, database: dict[str, str]
) -> None:
    await ingestor.do(HIRED, hired((2, "bob", 2021)))
    await detach(ingestor, 2021)
    await ingestor.do(HIRED, hired((3, "cid", 2021)))
    command = await plan(ingestor, 2021)
    before = await everything(ingestor)
    with pytest.raises(PermanentFailure, match="before") as refused:
        await hear(ingestor, command)
    assert await everything(ingestor) == before
    assert refused.value.problem.code == "detached_already"
    # Under another name, its indexes are still in the way.
    await ingestor.pool.execute(f"ALTER TABLE detached.{HIRED}__2021 RENAME TO old")
    with pytest.raises(PermanentFailure, match=r"^detached\.old has") as refused:
        await hear(ingestor, command)
    admin = await asyncpg.connect(database["admin"])
    await admin.execute(refused.value.problem.hint.split(": ")[1])  # as it says
    assert (await hear(ingestor, command)) is not None
    assert await names(ingestor, f"detached.{HIRED}__2021") == {"cid"}
    assert [row["name"] for row in await admin.fetch("SELECT name FROM archive.old")] == ["bob"]
    await admin.close()


@pytest.mark.parametrize(("years", "results"), [((2020, 2022), "There are: 2020, 2022."), ((), "It has no years.")])
async def test_a_year_that_is_not_there_is_refused_with_those_that_are(
    ingestor: Ingestor, years: tuple[int, ...], results: str
) -> None:
    await ingestor.do(HIRED, hired(*((year, "ada", year) for year in years)))
    with pytest.raises(PermanentFailure) as refused:
        await detach(ingestor, 2021)
    assert (refused.value.problem.code, refused.value.problem.hint) == ("no_such_year", results)


async def test_heard_twice_it_happens_once(ingestor: Ingestor) -> None:
    await ingestor.do(HIRED, hired((2, "bob", 2021)))
    command = await plan(ingestor, 2021)
    assert await hear(ingestor, command) is not None
    before = await everything(ingestor)
    assert await hear(ingestor, command) is None
    assert await everything(ingestor) == before


@pytest.mark.parametrize("step", ["_check_year", "_insert_before_images", "_lock_exclusively", "close_chunk"])
async def test_of_a_crash_in_the_middle_nothing_is_left_and_the_next_one_does_it(
    ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await ingestor.do(HIRED, hired((1, "ada", 2020), (2, "bob", 2021)))
    command = await plan(ingestor, 2021)
    before = await everything(ingestor)
    where: Any = chunk_ledger if step == "close_chunk" else detaching
    whole = getattr(where, step)

    async def dies_after(db: Connection, *arguments: Any) -> Any:
        done = await whole(db, *arguments)
        number = await db.fetchval("SELECT pg_backend_pid()")
        await ingestor.pool.execute("SELECT pg_terminate_backend($1)", number)
        return done

    with monkeypatch.context() as patched:
        patched.setattr(where, step, dies_after)
        with pytest.raises(
            (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
        ):
            await hear(ingestor, command)

    async def is_gone() -> bool:
        return await everything(ingestor) == before

    assert await eventually(is_gone, SECONDS)
    assert await hear(ingestor, command) is not None
    assert await names(ingestor) == {"ada"}
    assert await names(ingestor, f"detached.{HIRED}__2021") == {"bob"}


async def test_meanwhile_other_years_are_read_and_loaded_and_rows_of_this_one_wait(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer
) -> None:
    events = (await ingestor.do(HIRED, hired((1, "ada", 2020), (2, "bob", 2021)))).loaded
    command = await plan(ingestor, 2021)
    async with ingestor.pool.acquire() as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch(f"SELECT * FROM data.{HIRED}")
        working = asyncio.create_task(hear(ingestor, command))
        await somebody_waits(ingestor.pool)
        # As often as it tries: nobody waits behind it for long.
        for number in range(10, 13):
            text = hired((number, "dan", 2020), (1, "ada again", 2020), (number, "eve", 2022))
            events += (await ingestor.do(HIRED, text)).loaded
            assert await names(ingestor) == {"ada again", "bob", "dan", "eve"}
        (late,) = await ingestor.plan(HIRED, hired((3, "cid", 2021)))
        with pytest.raises(NotReady):
            await ingestor.load(late)
        assert not working.done()
        await reading.rollback()
        detached = await working
    assert detached is not None
    events += [detached, await ingestor.load(late)]
    assert await names(ingestor) == {"ada again", "dan", "eve", "cid"}
    assert await names(ingestor, f"detached.{HIRED}__2021") == {"bob"}
    await heard(analytics, indexer, events, random.Random(1))


async def test_a_table_that_is_never_free_is_left_as_it_is(ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detaching, "LONGEST_WAIT_SECONDS", 0.3)
    await ingestor.do(HIRED, hired((2, "bob", 2021)))
    command = await plan(ingestor, 2021)
    before = await everything(ingestor)
    async with ingestor.transaction() as reader:
        await reader.fetch(f"SELECT * FROM data.{HIRED}")
        with pytest.raises(TransientFailure) as refused:
            await hear(ingestor, command)
    assert refused.value.problem.code == "table_busy"
    assert await everything(ingestor) == before
    assert await hear(ingestor, command) is not None


async def test_it_waits_for_a_chunk_of_the_year_that_is_being_loaded(ingestor: Ingestor) -> None:
    await ingestor.do(HIRED, hired((2, "bob", 2021)))
    (chunk,) = await ingestor.plan(HIRED, hired((3, "cid", 2021)))
    command = await plan(ingestor, 2021)
    async with ingestor.transaction() as db:
        await ingestor.load_within(chunk, db)
        working = asyncio.create_task(hear(ingestor, command))
        await somebody_waits(ingestor.pool)
    event = await working
    assert event is not None
    assert event.outcome.deleted == 2


async def test_a_replacement_waits_and_creates_the_year_that_its_rows_need(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer
) -> None:
    events = (await ingestor.do(HIRED, hired((1, "ada", 2020), (2, "bob", 2021)))).loaded
    load_options = LoadOptions(mode="replace", max_shrink=1)
    commands = await ingestor.begin(HIRED, hired((1, "ada", 2020), (2, "rob", 2021)), load_options, chunk_bytes=1000)
    results = [message for one in commands if not isinstance(one, SwapStage) for message in await ingestor.hear(one)]
    (swap,) = (message for message in results if isinstance(message, SwapStage))
    async with ingestor.transaction() as db:
        await partitions.lock_year(db, DATASETS[HIRED], 2021)
        with pytest.raises(NotReady):
            await ingestor.hear(swap)
    events += [one for one in results if isinstance(one, ChunkLoaded)]
    events.append(await detach(ingestor, 2021))
    events += [one for one in await ingestor.hear(swap) if isinstance(one, ChunkLoaded)]
    assert events[-1].outcome == Outcome(inserted=1, unchanged=1, checked=-2)
    assert await names(ingestor) == {"ada", "rob"}
    await heard(analytics, indexer, events, random.Random(1))


async def test_a_file_without_rows_replaces_all_years_by_nothing(ingestor: Ingestor) -> None:
    await ingestor.do(HIRED, hired((1, "ada", 2020)))
    ended = await ingestor.do(HIRED, "", LoadOptions(mode="replace", max_shrink=1))
    assert ended.outcome == Outcome(deleted=1)


async def test_of_rows_that_nobody_searches_or_sums_up_no_images_are_kept(ingestor: Ingestor) -> None:
    await ingestor.declare("plain", PLAIN)
    rows = tuple(msgspec.Raw(f'{{"day":"{year}-02-03"}}'.encode()) for year in (2020, 2021, 2021))
    command = LoadRows(
        dataset="plain", job_id=uuid4(), rows=rows, columns=("day",), load_options=LoadOptions(mode="append")
    )
    assert await ingestor.hear(command)
    assert (await detach(ingestor, 2021, "plain")).outcome == Outcome(deleted=2)
    found = await ingestor.pool.fetch("SELECT day, note FROM detached.plain__2021")
    assert [tuple(row) for row in found] == [(dt.date(2021, 2, 3), "nothing")] * 2
    assert await ingestor.pool.fetchval("SELECT count(*) FROM data.plain") == 1
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0


async def test_who_begins_to_read_a_dataset_meanwhile_is_not_passed_over(ingestor: Ingestor) -> None:
    await ingestor.declare("plain", PLAIN)
    rows = (msgspec.Raw(b'{"day":"2021-02-03"}'),)
    command = LoadRows(
        dataset="plain", job_id=uuid4(), rows=rows, columns=("day",), load_options=LoadOptions(mode="append")
    )
    assert await ingestor.hear(command)
    detach = await plan(ingestor, 2021, "plain")
    async with ingestor.pool.acquire() as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT * FROM data.plain")
        working = asyncio.create_task(hear(ingestor, detach))
        await somebody_waits(ingestor.pool)
        read = {**PLAIN, "search": {"fields": ["note"]}}
        await ingestor.pool.execute(
            "UPDATE datasets SET declaration = $1 WHERE name = 'plain'", {"name": "plain", **read}
        )
        await reading.rollback()
        with pytest.raises(NotReady):
            await working
    assert await hear(ingestor, detach) is not None
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 1
