"""Rollups that are declared, changed and rebuilt over existing rows while more arrive."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from services.analytics import build, queries
from services.analytics.declare import prepare_all
from services.analytics.rebuild import rebuild_rollup
from services.analytics.rollup_tables import RollupTables
from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.tables.declare import declare_dataset
from shared.bus.failures import PermanentFailure
from shared.catalog.dataset import Dataset
from shared.catalog.files import to_dataset
from shared.contracts.commands import DeclareDataset, RebuildRollup
from shared.contracts.events import ChunkLoaded
from shared.db import Connection
from shared.reads.ingestor import partitions
from tests.integration.ingestor_runner import Ingestor, somebody_waits
from tests.integration.job_stories import until_done
from tests.integration.pruning import prune
from tests.integration.reader_runners import Analytics
from tests.integration.rollup_oracle import COLUMNS, DECLARATIONS, FIELDS, ROLLUPS, SALES, holds, kept, sale

PLAIN: dict[str, Any] = {"title": "Sales", "primary_key": ["id"], "fields": FIELDS}


async def declare(ingestor: Ingestor, declaration: dict[str, Any]) -> Dataset:
    """Of the dataset `sales`, first or next."""
    follows = await ingestor.pool.fetchval("SELECT revision FROM datasets WHERE name = 'sales'") or 0
    command = DeclareDataset(dataset="sales", follows=follows, digest="", declaration=declaration)
    async with ingestor.transaction() as db:
        assert await declare_dataset(command, db) is not None
    return to_dataset("sales", declaration)


async def bring(ingestor: Ingestor, *lines: str) -> list[ChunkLoaded]:
    return (await ingestor.do("sales", "".join(lines), columns=COLUMNS, chunk_bytes=300)).loaded


def some_lines(chance: random.Random, count: int) -> list[str]:
    """Of few keys, so that rows are replaced."""
    return [
        sale(
            chance.randint(1, 40),
            shop=chance.choice("abc"),
            price=str(chance.randint(0, 5)),
            weight=str(chance.random()),
            email=chance.choice(["", "a@x.org", "b@X.org", "c@y.org"]),
            note=chance.choice(["", "red", "red green"]),
            quantity=str(chance.randint(-3, 3)),
        )
        for _ in range(count)
    ]


async def test_rollups_that_are_added_to_rows_have_all_of_them(ingestor: Ingestor, analytics: Analytics) -> None:
    """Of rows that were loaded when nobody wanted to know which a chunk changed, counted or not."""
    chance = random.Random(1)
    await declare(ingestor, PLAIN)
    for event in await bring(ingestor, *some_lines(chance, 30)):
        await analytics.hear(event)
    waiting = await bring(ingestor, *some_lines(chance, 30))
    dataset = await declare(ingestor, DECLARATIONS["sales"])
    waiting += await bring(ingestor, *some_lines(chance, 30))
    await analytics.prepare("sales")
    await holds(analytics.pool, dataset)
    assert await analytics.counted("sales") == waiting[-1].version
    for event in [*waiting, *await bring(ingestor, *some_lines(chance, 30))]:
        await analytics.hear(event)
    await holds(analytics.pool, dataset)


async def test_a_load_that_began_under_a_declaration_without_rollups_keeps_what_it_replaces(
    ingestor: Ingestor, analytics: Analytics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare(ingestor, PLAIN)
    await bring(ingestor, sale(1, price="3"), sale(2, price="4"))
    select_chunk = chunk_ledger.select_chunk

    async def and_meanwhile(db: Connection, job_id: UUID, chunk: int) -> Chunk:
        monkeypatch.setattr(chunk_ledger, "select_chunk", select_chunk)
        found = await select_chunk(db, job_id, chunk)
        await declare(ingestor, DECLARATIONS["sales"])
        await analytics.prepare("sales")
        return found

    monkeypatch.setattr(chunk_ledger, "select_chunk", and_meanwhile)
    (event,) = await bring(ingestor, sale(1, price="5"))
    await analytics.hear(event)
    await holds(analytics.pool, SALES["sales"])


async def test_rollups_change_and_go_and_the_others_stand(ingestor: Ingestor, analytics: Analytics) -> None:
    chance = random.Random(2)
    await declare(ingestor, {**PLAIN, "rollups": ROLLUPS[:2]})
    await analytics.prepare("sales")
    untold = await bring(ingestor, *some_lines(chance, 40))
    before = await analytics.pool.fetchval("SELECT built_at FROM rollups WHERE name = 'mail'")
    changed = {**ROLLUPS[0], "group_by": ["shop"], "measures": {"most": "max(price)", "sales": "count"}}
    dataset = await declare(ingestor, {**PLAIN, "rollups": [changed, ROLLUPS[1], ROLLUPS[2]]})
    await analytics.prepare("sales")
    for event in untold:
        await analytics.hear(event)
    await holds(analytics.pool, dataset)
    assert await analytics.pool.fetchval("SELECT built_at FROM rollups WHERE name = 'mail'") == before
    dataset = await declare(ingestor, {**PLAIN, "rollups": [ROLLUPS[1]]})
    await analytics.prepare("sales")
    assert await tables(analytics) == set(dataset.rollups[0].tables("sales"))
    await declare(ingestor, PLAIN)
    await analytics.prepare("sales")
    assert (await tables(analytics), await analytics.counted("sales")) == (set(), None)
    for event in await bring(ingestor, *some_lines(chance, 10)):
        assert [counted.groups for counted in await analytics.count(event)] == [0]


async def tables(analytics: Analytics) -> set[str]:
    """Of this dataset's rollups."""
    rows = await analytics.pool.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'rollups' AND tablename ~ '^(sales__|_)'"
    )
    return {row["tablename"] for row in rows}


async def test_what_was_declared_while_nobody_listened_is_made_at_start(
    ingestor: Ingestor, analytics: Analytics
) -> None:
    await analytics.pool.execute("DROP TABLE rollups.items__stock")
    await analytics.pool.execute("CREATE TABLE rollups.items__stock (category text, items bigint)")
    await analytics.pool.execute("DELETE FROM rollups WHERE dataset = 'items'")
    await ingestor.bring("items", "1,Chair,wood,1,5,,,\n")
    async with analytics.pool.acquire() as db, db.transaction():
        assert await prepare_all(db) == []
    assert await analytics.rollup("items") == [("wood", 1, 5, 1)]


@pytest.fixture
async def sales(ingestor: Ingestor, analytics: Analytics) -> Dataset:
    """With rows, all of which are counted."""
    dataset = await declare(ingestor, DECLARATIONS["sales"])
    await analytics.prepare("sales")
    for event in await bring(ingestor, *some_lines(random.Random(3), 80)):
        await analytics.hear(event)
    return dataset


ADDED = "quantity, weight, _sum_3, _count_3, _sum_7, _count_7, _rows"
CORRUPT = [
    ("UPDATE rollups.sales__sold SET sales = sales + 1 WHERE shop = 'a'", 1),
    ("UPDATE rollups.sales__sold SET cheapest = -7, _sum_3 = 0", 3),
    ("DELETE FROM rollups.sales__sold WHERE shop = 'b'", 1),
    ("UPDATE rollups.sales__sold SET shop = NULL WHERE shop = 'c'", 2),
    (f"INSERT INTO rollups.sales__sold (shop, {ADDED}) SELECT 'new', 1, 1, 1, 1, 1, 1, 1", 1),
    ("UPDATE rollups.sales__sold__price SET rows = rows + 1", 3),
    ("DELETE FROM rollups.sales__sold__price WHERE value > 0", 3),
    ("TRUNCATE rollups.sales__sold__price, rollups.sales__sold", 3),
]


@pytest.mark.parametrize(("corrupt", "wrong"), CORRUPT)
async def test_a_rebuild_mends_what_is_wrong_and_counts_it(
    sales: Dataset, ingestor: Ingestor, analytics: Analytics, corrupt: str, wrong: int
) -> None:
    await analytics.pool.execute(corrupt)
    rebuilt = await analytics.rebuild("sales", "sold")
    assert (rebuilt.groups, rebuilt.mended) == (3, wrong)
    await holds(analytics.pool, sales)
    assert (await analytics.rebuild("sales", "sold")).mended == 0
    for event in await bring(ingestor, *some_lines(random.Random(4), 40)):
        await analytics.hear(event)
    await holds(analytics.pool, sales)


async def test_readers_see_what_stood_until_a_rebuild_is_done(sales: Dataset, analytics: Analytics) -> None:
    await analytics.pool.execute("UPDATE rollups.sales__sold SET sales = -1")
    wrong = await kept(analytics.pool, sales, sales.rollups[0])
    async with analytics.pool.acquire() as db, db.transaction():
        await rebuild_rollup(RebuildRollup(dataset="sales", job_id=uuid4(), rollup="sold"), db)
        async with asyncio.timeout(5):
            assert await kept(analytics.pool, sales, sales.rollups[0]) == wrong
    await holds(analytics.pool, sales)


async def test_a_rebuild_ends_right_though_chunks_are_loaded_and_counted_meanwhile(
    sales: Dataset, ingestor: Ingestor, analytics: Analytics
) -> None:
    chance = random.Random(5)

    async def load() -> None:
        for _ in range(4):
            loaded = await bring(ingestor, *some_lines(chance, 40))
            chance.shuffle(loaded)
            await asyncio.gather(*(until_done(analytics.hear, event) for event in loaded))

    async def rebuild() -> None:
        for _ in range(3):
            for rollup in sales.rollups[:3]:
                assert (await analytics.rebuild("sales", rollup.name)).mended == 0

    async def prune_always() -> None:
        while not done.done():
            await prune(ingestor.pool)

    await analytics.pool.execute("UPDATE rollups.sales__days SET price = 0 WHERE price <> 0")
    done = asyncio.gather(load(), rebuild(), analytics.rebuild("sales", "days"))
    await asyncio.gather(done, prune_always())
    await prune(ingestor.pool)
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0
    await holds(analytics.pool, sales)


async def test_a_rebuild_adds_what_was_loaded_and_counted_after_its_snapshot(
    sales: Dataset, ingestor: Ingestor, analytics: Analytics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the chunks of that moment, one is counted, and one is not; of those before, one had not been."""
    late, *_ = await bring(ingestor, *some_lines(random.Random(6), 20))
    lock = queries.lock_counts

    async def and_meanwhile(db: Connection, dataset: str, *, exclusive: bool) -> None:
        if exclusive:
            _, second, *_ = await bring(ingestor, *some_lines(random.Random(7), 40))
            monkeypatch.setattr(queries, "lock_counts", lock)
            await analytics.hear(second)
            assert await prune(ingestor.pool) == 0  # the draft needs the images of `second`
        await lock(db, dataset, exclusive=exclusive)

    monkeypatch.setattr(queries, "lock_counts", and_meanwhile)
    assert (await analytics.rebuild("sales", "sold")).mended == 0
    await holds(analytics.pool, sales)
    await analytics.hear(late)
    await holds(analytics.pool, sales)


async def test_counting_waits_for_the_last_step_of_a_rebuild_and_then_goes_on(
    sales: Dataset, ingestor: Ingestor, analytics: Analytics, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting: list[asyncio.Task[None]] = []
    select_counted_since = queries.select_counted_since

    async def and_then(db: Connection, dataset: str, version: int) -> list[int]:
        found = await select_counted_since(db, dataset, version)
        event, *_ = await bring(ingestor, *some_lines(random.Random(8), 20))
        counting.append(asyncio.create_task(analytics.hear(event)))
        await asyncio.wait(
            [*counting, asyncio.create_task(somebody_waits(analytics.pool))], return_when="FIRST_COMPLETED"
        )
        return found

    monkeypatch.setattr(queries, "select_counted_since", and_then)
    assert (await analytics.rebuild("sales", "sold")).mended == 0
    await asyncio.gather(*counting)
    await analytics.refresh("sales")
    await holds(analytics.pool, sales)


async def test_rows_of_a_year_that_was_new_to_the_snapshot_are_not_missed(
    ingestor: Ingestor, analytics: Analytics, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [[1], [1, 2], [1, 2], [1, 2]]

    async def select_oids(db: Connection, dataset: str) -> list[int]:
        del db, dataset
        return seen.pop(0)

    await ingestor.declare("yearly", DECLARATIONS["yearly"])
    await ingestor.do("yearly", sale(1, price="3"), columns=COLUMNS)
    monkeypatch.setattr(partitions, "select_oids", select_oids)
    dataset = msgspec.structs.replace(SALES["yearly"], rollups=SALES["yearly"].rollups[:1])
    async with analytics.pool.acquire() as db, db.transaction():
        await build.build(db, dataset, kept=[], dropped=[], added=[RollupTables(dataset, dataset.rollups[0])])
    assert seen == []
    await holds(analytics.pool, dataset)


async def test_no_rollup_is_rebuilt_that_is_not_declared(sales: Dataset, analytics: Analytics) -> None:
    with pytest.raises(PermanentFailure, match="declares no rollup 'other'"):
        await analytics.rebuild(sales.name, "other")
