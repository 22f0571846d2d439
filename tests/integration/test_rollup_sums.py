"""Every measure and group after any sequence of jobs, compared with SQL and Python."""

import asyncio
import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.count import count_chunks
from shared.catalog.dataset import Dataset
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import LoadOptions
from tests.integration.ingestor_runner import Ingestor, forget
from tests.integration.job_stories import EXAMPLES, groups, until_done
from tests.integration.reader_runners import Analytics
from tests.integration.rollup_oracle import COLUMNS, DECLARATIONS, SALES, holds

TEXTS = ("", "", "red Red", "ΟΔΟΣ οδος", "Straße", "İ i̇", "x" * 230, "cafe\u0301 café", "½ _ a-b")
CELLS = {
    "id": st.integers(1, 9).map(str),
    "at": st.builds(
        "{}-{:02}-{}".format, st.integers(2019, 2021), st.integers(1, 12), st.sampled_from(["01", "15"])
    ).map(lambda day: f"{day}T23:30:00Z"),
    "day": st.sampled_from(["", "2020-02-29", "1999-12-31"]),
    "shop": st.sampled_from(["", "a", "b"]),
    "email": st.sampled_from(["", "a@Example.ORG", "b@example.org", "no address", "a@b@c.d", "x@"]),
    "note": st.sampled_from(TEXTS),
    "quantity": st.sampled_from(["", "0", "3", "-4", "9223372036854775807"]),
    "price": st.sampled_from(["", "0.00", "3.50", "3.25", "-1", "99999999.99"]),
    "weight": st.sampled_from(
        ["", "0.1", "0.2", "-0.0", "1e300", "1e-300", "0.30000000000000004", "123456789.123456789"]
    ),
    "empty": st.sampled_from(["", "true", "false"]),
    "value": st.sampled_from(["", "123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000"]),
    "rows": st.sampled_from(["", "00:00", "23:59:59"]),
}
LINE = st.fixed_dictionaries(CELLS).map(lambda cells: ",".join(cells[name] for name in COLUMNS) + "\n")


class Job(msgspec.Struct, frozen=True):
    """Lines as they stand in a file, what becomes of them, and whether chunks are counted while others are loaded."""

    lines: list[str]
    load_options: LoadOptions
    at_once: bool


TERMS = st.sampled_from(
    [LoadOptions(), LoadOptions(), LoadOptions(mode="insert"), LoadOptions(mode="replace", max_shrink=1)]
)
JOBS = st.lists(LINE, min_size=3, max_size=8).flatmap(
    lambda lines: st.lists(
        st.builds(Job, st.lists(st.sampled_from([*lines, "bad\n"]), min_size=1, max_size=14), TERMS, st.booleans()),
        min_size=1,
        max_size=4,
    )
)


async def declare(ingestor: Ingestor, analytics: Analytics, name: str) -> Dataset:
    if not await ingestor.pool.fetchval("SELECT true FROM datasets WHERE name = $1", name):
        await ingestor.declare(name, DECLARATIONS[name])
        await analytics.prepare(name)
    return SALES[name]


async def deliver(analytics: Analytics, undelivered: Sequence[ChunkLoaded], chance: random.Random) -> list[ChunkLoaded]:
    """Some of them, in any order and in groups, some twice, some to one who dies. Returns the others."""
    deliveries = chance.sample(undelivered, chance.randint(0, len(undelivered)))
    rest = [event for event in undelivered if event not in deliveries]
    deliveries += chance.sample(deliveries, len(deliveries) // 3)
    for event in chance.sample(deliveries, len(deliveries) // 4):
        await analytics.die(event)

    async def count(group: list[ChunkLoaded]) -> None:
        assert len(await analytics.count(*group)) == len(group)

    if chance.random() < 0.5:
        await asyncio.gather(*(until_done(count, group) for group in groups(deliveries, chance)))
    else:
        for group in groups(deliveries, chance):
            await count(group)
    return rest


async def load(ingestor: Ingestor, name: str, job: Job, chance: random.Random) -> list[ChunkLoaded]:
    commands = await ingestor.begin(name, "".join(job.lines), job.load_options, columns=COLUMNS, chunk_bytes=150)
    return (await ingestor.follow(commands, chance)).loaded


@pytest.mark.parametrize("name", DECLARATIONS)
@settings(EXAMPLES, max_examples=8)
@given(story=JOBS, seed=st.integers(0, 1 << 32))
async def test_rollups_are_what_sql_and_python_say(
    ingestor: Ingestor, analytics: Analytics, name: str, story: list[Job], seed: int
) -> None:
    chance = random.Random(seed)
    await forget(analytics.admin)
    dataset = await declare(ingestor, analytics, name)
    undelivered: list[ChunkLoaded] = []
    everything: list[ChunkLoaded] = []
    refreshed: set[int] = set()
    for job in story:
        loading = load(ingestor, name, job, chance)
        if job.at_once:
            loaded, undelivered = await asyncio.gather(loading, deliver(analytics, undelivered, random.Random(seed)))
        else:
            loaded = await loading
        everything += loaded
        undelivered = await deliver(analytics, [*undelivered, *loaded], chance)
        if chance.random() < 0.5:
            assert (await analytics.refresh(name)).chunks == sum(event.ledger not in refreshed for event in undelivered)
            refreshed |= {event.ledger for event in undelivered}
            await holds(analytics.pool, dataset)
    for event in undelivered:
        await analytics.hear(event)
    await holds(analytics.pool, dataset)
    for event in chance.sample(everything, len(everything) // 2):
        await analytics.hear(event)
    await holds(analytics.pool, dataset)
    for rollup in dataset.rollups:
        assert (await analytics.rebuild(name, rollup.name)).mended == 0
    assert await analytics.counted(name) == await ingestor.pool.fetchval(
        "SELECT version FROM datasets WHERE name = $1", name
    )
    for table in (table for rollup in dataset.rollups for table in rollup.tables(name)[1:]):
        assert await analytics.pool.fetchval(f'SELECT count(*) FROM rollups."{table}" WHERE rows <= 0') == 0


@pytest.mark.parametrize("name", DECLARATIONS)
@settings(EXAMPLES, max_examples=4)
@given(story=JOBS, seed=st.integers(0, 1 << 32))
async def test_groups_of_chunks_change_the_same_groups_as_one_by_one(
    ingestor: Ingestor, analytics: Analytics, name: str, story: list[Job], seed: int
) -> None:
    chance = random.Random(seed)
    await forget(analytics.admin)
    dataset = await declare(ingestor, analytics, name)
    events = [event for job in story for event in await load(ingestor, name, job, chance)]
    async with analytics.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        alone = [one for event in chance.sample(events, len(events)) for one in await count_chunks([event], db)]
        await transaction.rollback()
    together = [one for group in groups(events, chance) for one in await analytics.count(*group)]
    assert {one.id: one.groups for one in together} == {one.id: one.groups for one in alone}
    kept = await analytics.pool.fetch("SELECT ledger, groups FROM chunks WHERE ledger = ANY($1)", ledgers(events))
    assert {row["ledger"]: row["groups"] for row in kept} == {
        event.ledger: one.groups
        for event in events
        for one in alone
        if (one.job_id, one.chunk) == (event.job_id, event.chunk)
    }
    await holds(analytics.pool, dataset)
    assert await analytics.counted(name) == max((event.version for event in events), default=0)


def ledgers(events: Sequence[ChunkLoaded]) -> list[int]:
    return [event.ledger for event in events]
