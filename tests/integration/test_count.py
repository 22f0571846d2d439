"""Counting chunks for rollups: at the same time, twice, late, by a refresh, and the cost of it."""

import asyncio
import itertools
import re
from typing import Any

import pytest

from services.analytics import deltas, plans
from services.analytics.count import count_chunks
from services.analytics.rollup_tables import RollupTables
from shared.bus.failures import NotReady
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import LoadOptions
from shared.db import Connection
from tests.integration.ingestor_runner import Ingestor, somebody_waits
from tests.integration.reader_runners import Analytics
from tests.integration.rollup_oracle import COLUMNS, DECLARATIONS, SALES, sale

READ = re.compile(r"(?:Index|Bitmap|Seq).*? (?:on|using) (?!news_)\S+")
"""What a line of a plan reads, other than the chunk's own table."""
SOLD = "SELECT cheapest, dearest, prices, sales FROM rollups.sales__sold"


@pytest.fixture
async def sales(ingestor: Ingestor, analytics: Analytics) -> Ingestor:
    """With nothing sold as yet."""
    await ingestor.declare("sales", DECLARATIONS["sales"])
    await analytics.prepare("sales")
    return ingestor


async def bring(ingestor: Ingestor, *lines: str, load_options: LoadOptions | None = None) -> ChunkLoaded:
    """One job of one chunk."""
    ended = await ingestor.do(
        "sales", "".join(lines), load_options or LoadOptions(), columns=COLUMNS, chunk_bytes=10_000
    )
    return ended.loaded[-1]


async def sold(analytics: Analytics) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await analytics.pool.fetch(SOLD)]


@pytest.mark.parametrize(("first", "second"), [("3", "5"), ("5", "3")])
async def test_two_chunks_at_once_leave_the_least_and_the_greatest_of_both(
    sales: Ingestor, analytics: Analytics, first: str, second: str
) -> None:
    one, two = await bring(sales, sale(1, price=first)), await bring(sales, sale(2, price=second))
    async with analytics.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        await count_chunks([one], db)
        later = asyncio.create_task(analytics.hear(two))
        await somebody_waits(analytics.pool)
        await transaction.commit()
    await later
    assert await sold(analytics) == [(3, 5, 2, 2)]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_one_chunk_heard_twice_at_once_is_counted_once(sales: Ingestor, analytics: Analytics, end: str) -> None:
    one = await bring(sales, sale(1, price="3"))
    async with analytics.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        await count_chunks([one], db)
        later = asyncio.create_task(analytics.hear(one))
        await somebody_waits(analytics.pool)
        await (transaction.commit() if end == "commit" else transaction.rollback())
    await later
    assert await sold(analytics) == [(3, 3, 1, 1)]


async def test_a_group_changes_whose_values_alone_have_changed(sales: Ingestor, analytics: Analytics) -> None:
    await analytics.hear(await bring(sales, sale(1, price="3"), sale(2, price="5")))
    await analytics.hear(await bring(sales, sale(1, price="4"), sale(2, price="4")))
    assert await sold(analytics) == [(4, 4, 1, 2)]  # and the sum of prices is what it was
    await analytics.hear(await bring(sales, sale(1), sale(2)))
    assert await sold(analytics) == [(None, None, 0, 2)]


async def test_while_chunks_overtake_each_other_fewer_rows_than_none_may_have_a_value(
    sales: Ingestor, analytics: Analytics
) -> None:
    first = await bring(sales, sale(1, price="3"), sale(2, price="4"))
    second = await bring(sales, sale(1, price="4"))
    third = await bring(sales, sale(2, price="4"), load_options=LoadOptions(mode="replace", max_shrink=1))
    for event, expected in ((second, (4, 4, 1, 0)), (third, (None, None, 0, -1)), (first, (4, 4, 1, 1))):
        await analytics.hear(event)
        assert await sold(analytics) == [expected]


async def test_sums_of_numbers_are_exact_and_forget_what_has_gone(sales: Ingestor, analytics: Analytics) -> None:
    tiny, tenth = sale(1, weight="1e-30"), sale(2, weight="0.1")
    await analytics.hear(await bring(sales, tiny, tenth, sale(3, weight="0.2"), sale(4, weight="123456789.123456789")))
    await analytics.hear(await bring(sales, sale(1), sale(4)))
    row = await analytics.pool.fetchrow("SELECT weight::text, mean_weight::text FROM rollups.sales__sold")
    assert tuple(row or ()) == ("0.3", "0.15000000000000000000")


async def test_a_chunk_waits_for_the_first_rollups_and_is_in_them_then(
    ingestor: Ingestor, analytics: Analytics
) -> None:
    await ingestor.declare("sales", DECLARATIONS["sales"])
    one = await bring(ingestor, sale(1, price="3"))
    with pytest.raises(NotReady):
        await analytics.count(one)
    await analytics.prepare("sales")
    assert len(await analytics.count(one)) == 1
    assert await sold(analytics) == [(3, 3, 1, 1)]
    assert await analytics.counted("sales") == one.version


async def test_a_refresh_reports_up_to_which_version_everything_is_counted(
    sales: Ingestor, analytics: Analytics
) -> None:
    assert await analytics.counted("sales") == 0
    events = [await bring(sales, sale(number, price="3")) for number in (1, 2, 3, 4)]
    for number, expected in ((1, 0), (0, 2), (3, 2), (2, 4)):
        await analytics.hear(events[number])
        assert await analytics.counted("sales") == events[0].version + expected - 1 if expected else True
    assert await analytics.counted("departments") is None


async def test_a_refresh_counts_chunks_without_an_event_and_waits_for_running_counts(
    sales: Ingestor, analytics: Analytics
) -> None:
    under_way, lost = await bring(sales, sale(1, price="3")), await bring(sales, sale(2, price="4"))
    async with analytics.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        await count_chunks([under_way], db)
        refreshing = asyncio.create_task(analytics.refresh("sales", "departments"))
        await somebody_waits(analytics.pool)
        await transaction.commit()
    refreshed = await refreshing
    assert (refreshed.chunks, refreshed.versions) == (1, {"departments": 0, "sales": lost.version})
    assert await sold(analytics) == [(3, 4, 2, 2)]
    await analytics.hear(lost)
    assert await sold(analytics) == [(3, 4, 2, 2)]


async def test_a_chunk_that_was_given_up_is_in_the_rollup_after_a_rebuild(
    sales: Ingestor, analytics: Analytics
) -> None:
    given_up, counted = await bring(sales, sale(1, price="3")), await bring(sales, sale(2, price="5"))
    await analytics.count(counted)
    assert await sold(analytics) == [(5, 5, 1, 1)]
    assert await analytics.counted("sales") == given_up.version - 1
    rebuilt = await analytics.rebuild("sales", "sold")
    assert await sold(analytics) == [(3, 5, 2, 2)]
    assert rebuilt.version == await analytics.counted("sales") == counted.version
    assert len(await analytics.count(given_up)) == 1  # redriven
    assert await sold(analytics) == [(3, 5, 2, 2)]


async def test_refreshes_and_chunks_at_once_count_everything_once(sales: Ingestor, analytics: Analytics) -> None:
    events = [await bring(sales, *(sale(number, price=str(n)) for number in (1, 2, 3))) for n in range(6)]
    async with asyncio.timeout(60):
        refreshed, *_ = await asyncio.gather(analytics.refresh("sales"), *map(analytics.hear, events))
    assert refreshed is not None
    assert refreshed.versions == {"sales": events[-1].version}
    assert await sold(analytics) == [(5, 5, 1, 3)]


async def explained(db: Connection, statement: str) -> list[str]:
    values = "'{\"(0,1)\"}'" if "tid" in statement else "'{77}'"
    rows = await db.fetch("EXPLAIN (COSTS OFF) " + statement.replace("$1", values))
    return [row[0] for row in rows]


async def plans_of(db: Connection, tables: RollupTables, *, by_chunk: bool) -> list[list[str]]:
    """Of every statement of a chunk, or of a group of chunks, as `add_chunks` has them run."""
    valued = tables.rollup.value_fields
    if valued:
        await db.execute(deltas.create_delta_table(tables))
    await plans.use(db, plans.SCAN_CHUNK)
    found = [await explained(db, deltas.add_sums(tables, by_chunk=by_chunk))]
    await plans.use(db, plans.LOOK_UP_KEYS)
    for field in valued:
        made = deltas.add_values(tables, field), deltas.delete_values(tables, field)
        found += [await explained(db, one) for one in (*made, *deltas.update_extremes(tables, field))]
    return [*found, await explained(db, deltas.delete_empty_groups(tables))]


@pytest.mark.parametrize("by_chunk", [False, True])
async def test_chunks_cost_the_same_however_many_rows_there_are(
    sales: Ingestor, analytics: Analytics, *, by_chunk: bool
) -> None:
    await analytics.hear(await bring(sales, *(sale(number, price="3") for number in range(20))))
    dataset = SALES["sales"]

    async def look() -> list[list[str]]:
        await analytics.admin.execute("ANALYZE")
        async with analytics.pool.acquire() as db, db.transaction():
            tables = [RollupTables(dataset, rollup) for rollup in dataset.rollups]
            found = [plan for one in tables for plan in await plans_of(db, one, by_chunk=by_chunk)]
        for plan in found:
            for line, following in itertools.pairwise(plan):
                assert "Index Scan" not in line or following.strip().startswith("Index Cond"), plan
        return [sorted(match[0] for line in plan if (match := READ.search(line))) for plan in found]

    few = await look()
    read = {line for plan in few for line in plan}
    assert {"Index Scan using sales__chunk", "Index Scan using replaced_was", "Index Scan using replaced_by"} <= read
    assert [line for line in read if line.startswith("Seq")] == []
    await analytics.admin.execute(
        """
        INSERT INTO data.sales (id, at, shop, price, _chunk)
        SELECT n, '2020-01-01', n % 50, n % 1000, n / 1000 + 1000 FROM generate_series(100, 60000) n;
        INSERT INTO ingestor.replaced (ledger, was, dataset, row)
        SELECT n / 1000 + 1001, n / 1000 + 1000, 'sales', '{}' FROM generate_series(100, 60000) n
        """
    )
    for rollup in dataset.rollups:
        await analytics.rebuild("sales", rollup.name)
    assert await look() == few


async def test_what_nobody_sums_up_is_not_counted(ingestor: Ingestor, analytics: Analytics) -> None:
    (event,) = await ingestor.load_all(await ingestor.plan("departments", "1,Sales\n"))
    assert [counted.groups for counted in await analytics.count(event)] == [0]
    assert (await analytics.refresh("departments")).versions == {"departments": event.version}
