"""Chunks go to the services that their dataset declares, and search and rollups that come later have every row."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from services.analytics.declare import prepare_all
from services.indexer.documents import reindex
from services.ingestor.ledger_lines import delete_ledger_lines
from services.ingestor.tables.declare import declare_dataset
from shared.bus.failures import NotReady
from shared.catalog.dataset import Dataset
from shared.catalog.files import to_dataset
from shared.contracts.commands import DeclareDataset, IndexPiece
from shared.contracts.events import ChunkLoaded
from shared.db import Connection
from tests.integration.ingestor_runner import DATASETS, Ingestor, somebody_waits
from tests.integration.job_stories import groups
from tests.integration.pruning import prune
from tests.integration.reader_runners import Analytics, Indexer
from tests.integration.rollup_oracle import COLUMNS, FIELDS, ROLLUPS, holds, sale

PLAIN: dict[str, Any] = {"title": "Sales", "primary_key": ["id"], "fields": FIELDS}
SEARCH: dict[str, Any] = {"search": {"fields": ["email", "note"]}}
COUNTS: dict[str, Any] = {"rollups": ROLLUPS[:2]}
READERS = {(): {}, ("indexer",): SEARCH, ("analytics",): COUNTS, ("indexer", "analytics"): {**SEARCH, **COUNTS}}
BOTH = ("indexer", "analytics")


async def declare_within(db: Connection, readers: tuple[str, ...]) -> Dataset:
    """Declares the dataset `sales`, first or next, in a transaction that the caller ends."""
    follows = await db.fetchval("SELECT revision FROM datasets WHERE name = 'sales'") or 0
    declaration = {**PLAIN, **READERS[readers]}
    command = DeclareDataset(dataset="sales", follows=follows, digest="", declaration=declaration)
    assert await declare_dataset(command, db) is not None
    return to_dataset("sales", declaration)


async def declare(ingestor: Ingestor, readers: tuple[str, ...]) -> Dataset:
    async with ingestor.transaction() as db:
        return await declare_within(db, readers)


async def bring(ingestor: Ingestor, *lines: str) -> list[ChunkLoaded]:
    return (await ingestor.do("sales", "".join(lines), columns=COLUMNS, chunk_bytes=300)).loaded


def some_lines(chance: random.Random, count: int) -> list[str]:
    """Of few keys, so that rows are replaced."""
    emails, notes = ("", "a@x.org", "b@y.org"), ("", "red", "red green", "blue")
    return [
        sale(chance.randint(1, 20), shop=chance.choice("ab"), email=chance.choice(emails), note=chance.choice(notes))
        for _ in range(count)
    ]


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch, analytics: Analytics) -> None:
    """The runners, once they are there, know the dataset as they know those of the catalog."""
    del analytics
    monkeypatch.setitem(DATASETS, "sales", to_dataset("sales", {**PLAIN, **READERS[BOTH]}))


async def is_complete(ingestor: Ingestor, indexer: Indexer, analytics: Analytics) -> None:
    """Search and rollups have every row, and say so."""
    version = await ingestor.pool.fetchval("SELECT version FROM datasets WHERE name = 'sales'")
    assert await indexer.documents("sales") == await indexer.recomputed("sales")
    await holds(analytics.pool, DATASETS["sales"])
    assert await indexer.pool.fetchval("SELECT indexed FROM freshness WHERE dataset = 'sales'") == version
    assert await analytics.counted("sales") == version


@pytest.mark.parametrize("readers", READERS)
async def test_a_chunk_goes_to_the_services_that_its_dataset_declares(
    ingestor: Ingestor, readers: tuple[str, ...]
) -> None:
    await declare(ingestor, readers)
    assert {event.readers for event in await bring(ingestor, *some_lines(random.Random(1), 9))} == {readers}


async def bring_all_but_one(ingestor: Ingestor, readers: tuple[str, ...]) -> tuple[list[ChunkLoaded], Any]:
    """Chunks that were loaded for these readers, and the command that loads the last one."""
    await declare(ingestor, readers)
    old = await bring(ingestor, *some_lines(random.Random(1), 9))
    (command,) = await ingestor.begin("sales", sale(1, note="green"), columns=COLUMNS, chunk_bytes=300)
    return old, command


@pytest.mark.parametrize("before", [(), ("indexer",), ("analytics",)])
async def test_readers_that_are_declared_while_a_chunk_closes_find_its_rows(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, before: tuple[str, ...]
) -> None:
    """The declaration waits for the chunk, which goes to the readers before it; what is built has the chunk."""
    old, command = await bring_all_but_one(ingestor, before)
    async with ingestor.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        (event,) = await ingestor.handle(command, db)
        declaring = asyncio.create_task(declare(ingestor, BOTH))
        await somebody_waits(ingestor.pool)
        await transaction.commit()
    await declaring
    assert isinstance(event, ChunkLoaded)
    assert event.readers == before
    await indexer.prepare("sales")
    await analytics.prepare("sales")
    for one in [*old, event]:
        await deliver(indexer, analytics, [one])
    await is_complete(ingestor, indexer, analytics)


@pytest.mark.parametrize("before", [(), ("indexer",), ("analytics",)])
async def test_a_chunk_that_closes_while_readers_are_declared_goes_to_them(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, before: tuple[str, ...]
) -> None:
    """The chunk waits for the declaration."""
    old, command = await bring_all_but_one(ingestor, before)
    async with ingestor.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        await declare_within(db, BOTH)
        loading = asyncio.create_task(ingestor.hear(command))
        await somebody_waits(ingestor.pool)
        await transaction.commit()
    (event,) = await loading
    assert isinstance(event, ChunkLoaded)
    assert event.readers == BOTH
    await indexer.prepare("sales")
    await analytics.prepare("sales")
    await deliver(indexer, analytics, [*old, event])
    await is_complete(ingestor, indexer, analytics)


async def deliver(indexer: Indexer, analytics: Analytics, events: Sequence[ChunkLoaded]) -> None:
    """To their readers only."""
    for name, handle in (("indexer", indexer.index), ("analytics", analytics.count)):
        if chosen := [event for event in events if event.readers is not None and name in event.readers]:
            await handle(*chosen)


@pytest.mark.parametrize("at_start", [False, True])
async def test_readers_that_missed_a_break_in_their_declaration_build_again(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, *, at_start: bool
) -> None:
    chance = random.Random(5)
    await declare(ingestor, BOTH)
    await indexer.prepare("sales")
    await analytics.prepare("sales")
    await deliver(indexer, analytics, await bring(ingestor, *some_lines(chance, 30)))
    await declare(ingestor, ())
    await bring(ingestor, *some_lines(chance, 30))
    await declare(ingestor, BOTH)
    events = await bring(ingestor, *some_lines(chance, 30))
    if at_start:
        async with indexer.pool.acquire() as db, db.transaction():
            pieces = await reindex.prepare_all(db)
        await indexer.build([message for message in pieces if isinstance(message, IndexPiece)])
        async with analytics.pool.acquire() as db, db.transaction():
            await prepare_all(db)
    else:
        await indexer.prepare("sales")
        await analytics.prepare("sales")
    await deliver(indexer, analytics, events)
    await is_complete(ingestor, indexer, analytics)


class Course:
    """Declarations, loads and deliveries that reach the readers late, in groups of any size and order."""

    def __init__(self, ingestor: Ingestor, indexer: Indexer, analytics: Analytics, chance: random.Random) -> None:
        self.ingestor = ingestor
        self.chance = chance
        self.handlers = {"indexer": indexer.index, "analytics": analytics.count}
        self.waiting: dict[str, list[ChunkLoaded]] = {name: [] for name in self.handlers}
        self.steps = [
            self.declare,
            lambda: indexer.prepare("sales"),
            lambda: analytics.prepare("sales"),
            self.prune,
            self.deliver,
            self.load,
            self.load,
        ]

    async def declare(self) -> None:
        await declare(self.ingestor, self.chance.choice([*READERS]))

    async def prune(self) -> None:
        await prune(self.ingestor.pool)

    async def load(self) -> None:
        for event in await bring(self.ingestor, *some_lines(self.chance, 8)):
            for name in event.readers or ():
                self.waiting[name].append(event)

    async def deliver(self) -> None:
        for name, events in self.waiting.items():
            for group in groups(self.chance.sample(events, self.chance.randint(0, len(events))), self.chance):
                try:
                    await self.handlers[name](*group)
                except NotReady:
                    continue
                self.waiting[name] = [event for event in self.waiting[name] if event not in group]


@pytest.mark.parametrize("seed", range(12))
async def test_readers_that_come_and_go_have_every_row_and_leave_nothing_behind(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, seed: int
) -> None:
    course = Course(ingestor, indexer, analytics, random.Random(seed))
    await course.declare()
    for _ in range(16):
        await course.chance.choice(course.steps)()
    await declare(ingestor, BOTH)
    await indexer.prepare("sales")
    await analytics.prepare("sales")
    while any(course.waiting.values()):
        await course.deliver()
        await course.prune()
    await is_complete(ingestor, indexer, analytics)
    await course.prune()
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0


@pytest.mark.parametrize("readers", READERS)
async def test_old_lines_of_chunks_without_rows_go_as_soon_as_the_declared_readers_have_them(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, database: dict[str, str], readers: tuple[str, ...]
) -> None:
    await declare(ingestor, readers)
    await indexer.prepare("sales")
    await analytics.prepare("sales")
    line = sale(1, note="red")
    (first,), *others = [await bring(ingestor, line) for _ in range(4)]
    admin = await asyncpg.connect(database["admin"])
    await admin.execute("UPDATE ingestor.chunks SET loaded_at = loaded_at - interval '91 days'")
    await admin.close()
    if readers:
        assert await prune(ingestor.pool, delete_ledger_lines, 90) == 0
    await deliver(indexer, analytics, [first, *(event for (event,) in others)])
    assert await prune(ingestor.pool, delete_ledger_lines, 90) == 2  # not the first, which has the row, and the last
    await declare(ingestor, BOTH)
    await indexer.prepare("sales")
    await analytics.prepare("sales")
    await is_complete(ingestor, indexer, analytics)
