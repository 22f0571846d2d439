"""mode=replace: rows are loaded into a stage that nobody reads, and one transaction swaps it in."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from shared.contracts.commands import SwapStage
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import LoadOptions, Outcome
from tests.integration.ingestor_runner import Ingestor, JobEnd, somebody_waits
from tests.integration.job_stories import line_of_items, until_done
from tests.integration.reader_runners import Analytics, Indexer

REPLACE = LoadOptions(mode="replace")
AT_ANY_LOSS = LoadOptions(mode="replace", max_shrink=1)
STRICT = LoadOptions(mode="replace", max_errors=0, max_shrink=1)


def departments(*rows: tuple[int, str]) -> str:
    return "".join(f"{number},{name}\n" for number, name in rows)


def numbered(name: str, *numbers: int) -> str:
    return departments(*((number, name) for number in numbers))


def hired(*rows: tuple[int, str, int]) -> str:
    return "".join(f"{number},{name},{year}-06-01T00:00:00Z,1,1\n" for number, name, year in rows)


async def names(ingestor: Ingestor) -> dict[int, str]:
    """Of the departments."""
    return {row["id"]: row["department"] for row in await ingestor.rows("departments")}


async def stages(ingestor: Ingestor) -> int:
    """How many there are."""
    count: int = await ingestor.pool.fetchval("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'replacing%'")
    return count


async def everything(ingestor: Ingestor) -> list[Any]:
    """All that a swap may write."""
    tables = ("data.departments", "chunks", "failed_rows", "replaced", "datasets", "imports")
    return [await ingestor.pool.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


async def staged(
    ingestor: Ingestor, text: str, load_options: LoadOptions = REPLACE, chance: random.Random | None = None
) -> SwapStage:
    """Loads everything into the stage; what is left to do is the swap."""
    commands = await ingestor.begin("departments", text, load_options, chunk_bytes=30)
    if chance is not None:
        chance.shuffle(commands)
    results = [message for command in commands for message in await ingestor.hear(command)]
    (swap,) = (message for message in results if isinstance(message, SwapStage))
    assert results[-1] == swap
    return swap


async def test_the_rows_of_the_file_stand_in_the_place_of_the_others(ingestor: Ingestor) -> None:
    await ingestor.do("departments", departments((1, "goes"), (2, "changes"), (3, "stays"), (4, "stays")))
    text = departments((2, "once"), (5, "new"), (2, "changed"), (3, "stays"), (4, "other"), (4, "stays"))
    ended = await ingestor.do("departments", text, REPLACE, chunk_bytes=20)
    assert len(ended.loaded) > 3
    assert await names(ingestor) == {2: "changed", 3: "stays", 4: "stays", 5: "new"}
    assert ended.outcome == Outcome(rows_read=6, inserted=1, updated=1, unchanged=2, duplicates=2, deleted=1)
    assert [event.outcome.checked for event in ended.loaded[:-1]] == [
        event.outcome.rows_read for event in ended.loaded[:-1]
    ]
    assert (ended.loaded[-1].bytes, ended.loaded[-1].outcome.checked) == (0, -6)
    assert await stages(ingestor) == 0


@pytest.mark.parametrize("seed", range(16))
async def test_the_table_is_the_last_row_of_each_key_in_whatever_order_the_chunks_come(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, seed: int
) -> None:
    chance = random.Random(seed)
    before = "".join(line_of_items(chance) for _ in range(20))
    events = (await ingestor.do("items", before)).loaded
    old = await content(ingestor)
    lines = [line_of_items(chance) if chance.random() < 0.9 else "not a row\n" for _ in range(40)]
    ended = await ingestor.do("items", "".join(lines), AT_ANY_LOSS, chance=chance, chunk_bytes=90)
    good = [line for line in lines if line != "not a row\n"]
    last = {int(line.split(",")[0]): line for line in good}
    # What the file says of each key, as it comes into an empty table.
    new = await expected(ingestor, last)
    assert await content(ingestor) == new
    same = sum(old[key] == new[key] for key in old.keys() & new.keys())
    assert ended.outcome == Outcome(
        rows_read=40,
        inserted=len(new.keys() - old.keys()),
        updated=len(old.keys() & new.keys()) - same,
        unchanged=same,
        duplicates=len(good) - len(last),
        failed=40 - len(good),
        deleted=len(old.keys() - new.keys()),
    )
    assert ended.outcome.balanced()
    events += ended.loaded
    events += (await ingestor.do("items", before, chance=chance)).loaded
    await heard(analytics, indexer, events, chance)


async def content(ingestor: Ingestor) -> dict[int, tuple[Any, ...]]:
    """The items, without what is ours."""
    return {row["id"]: tuple(row.values())[:-1] for row in await ingestor.rows("items")}


async def expected(ingestor: Ingestor, lines: dict[int, str]) -> dict[int, tuple[Any, ...]]:
    """What the lines are as rows: looked up where they stand now, by all that they say."""
    found = {}
    for row in await ingestor.rows("items"):
        cells = [row["id"], row["name"], row["category"], 1, row["quantity"], None, None, row["description"]]
        found[row["id"]] = (",".join("" if cell is None else str(cell) for cell in cells), tuple(row.values())[:-1])
    assert {number: line for number, (line, _) in found.items()} == {
        number: line.rstrip("\n") for number, line in lines.items()
    }
    return {number: row for number, (_, row) in found.items()}


async def heard(
    analytics: Analytics, indexer: Indexer, events: list[ChunkLoaded], chance: random.Random, dataset: str = "items"
) -> None:
    """In any order, some of it twice; in the end everything is as the table has it."""
    await indexer.prepare(dataset)
    for hear in (analytics.hear, indexer.hear):
        deliveries = [*events, *chance.sample(events, len(events) // 4)]
        chance.shuffle(deliveries)
        for event in deliveries:
            await hear(event)
    assert await indexer.documents(dataset) == await indexer.recomputed(dataset)
    if dataset == "items":
        assert await analytics.rollup(dataset) == await analytics.recomputed(dataset)


async def test_of_rows_that_are_gone_no_word_is_found_and_no_sum_is_left(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer
) -> None:
    await indexer.bring(ingestor, "1,Chair,wood,1,5,,,\n2,Table,metal,1,7,,,\n")
    ended = await ingestor.do("items", "2,Lamp,metal,1,7,,,\n", REPLACE)
    for event in ended.loaded:
        await indexer.index(event)
    assert [await indexer.found(word) for word in ("chair", "table", "lamp")] == [[], [], [2]]
    later = await ingestor.do("items", "1,Chair,wood,1,5,,,\n")
    for event in [*later.loaded, *ended.loaded]:  # the job before has not been counted yet
        await analytics.count(event)
        await indexer.index(event)
    assert await indexer.found("chair") == [1]
    assert await indexer.documents("items") == await indexer.recomputed("items")


async def test_readers_see_the_old_rows_until_the_swap_has_committed(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("old", 1, 2))
    swap = await staged(ingestor, numbered("new", 2, 3, 4))
    assert await names(ingestor) == {1: "old", 2: "old"}
    async with ingestor.transaction() as db:
        await ingestor.handle(swap, db)
        assert await names(ingestor) == {1: "old", 2: "old"}
    assert await names(ingestor) == {2: "new", 3: "new", 4: "new"}


async def test_the_same_file_again_writes_nothing(ingestor: Ingestor) -> None:
    text = numbered("same", *range(1, 41))
    await ingestor.do("departments", text)
    places = "SELECT id, ctid::text, xmin::text FROM data.departments ORDER BY id"
    before = await ingestor.pool.fetch(places)
    ended = await ingestor.do("departments", text, REPLACE)
    assert ended.outcome == Outcome(rows_read=40, unchanged=40)
    assert await ingestor.pool.fetch(places) == before
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0


@pytest.mark.parametrize(
    ("rows", "load_options"), [(4, REPLACE), (0, REPLACE), (9, LoadOptions(mode="replace", max_shrink=0))]
)
async def test_a_table_that_would_shrink_too_much_is_left_alone(
    ingestor: Ingestor, rows: int, load_options: LoadOptions
) -> None:
    await ingestor.do("departments", numbered("old", *range(1, 11)))
    # New rows make up for none that go.
    text = numbered("new", *range(1, rows + 1), *range(11, 41)) if rows else ""
    ended = await ingestor.do("departments", text, load_options)
    assert await names(ingestor) == dict.fromkeys(range(1, 11), "old")
    assert ended.stopped is not None
    assert ended.stopped.problem.code == "shrink_guard"
    assert f"{10 - rows} of 10 rows" in ended.stopped.problem.detail
    assert "max_shrink=1" in ended.stopped.problem.hint
    assert ended.outcome == Outcome(rows_read=rows + 30 * (rows > 0), checked=rows + 30 * (rows > 0))
    assert ended.outcome.balanced()
    assert await stages(ingestor) == 0


@pytest.mark.parametrize(
    ("rows", "load_options"),
    [(5, REPLACE), (0, AT_ANY_LOSS), (1, AT_ANY_LOSS), (10, LoadOptions(mode="replace", max_shrink=0))],
)
async def test_a_table_may_shrink_as_much_as_is_allowed(
    ingestor: Ingestor, rows: int, load_options: LoadOptions
) -> None:
    await ingestor.do("departments", numbered("old", *range(1, 11)))
    ended = await ingestor.do("departments", numbered("old", *range(1, rows + 1)), load_options)
    assert ended.outcome == Outcome(rows_read=rows, unchanged=rows, deleted=10 - rows)
    assert await names(ingestor) == dict.fromkeys(range(1, rows + 1), "old")


async def test_an_empty_file_asks_for_the_swap_at_once(ingestor: Ingestor) -> None:
    commands = await ingestor.begin("departments", "", REPLACE)
    assert [type(message) for message in commands] == [SwapStage]
    assert (await ingestor.follow(commands)).outcome == Outcome()
    assert await stages(ingestor) == 0


@pytest.mark.parametrize("seed", range(4))
async def test_one_failed_row_is_enough_to_replace_nothing(ingestor: Ingestor, seed: int) -> None:
    chance = random.Random(seed)
    await ingestor.do("departments", numbered("old", 1, 2))
    lines = numbered("new", *range(1, 31)).splitlines(keepends=True)
    lines.insert(chance.randrange(30), "x,bad\n")
    commands = await ingestor.begin("departments", "".join(lines), STRICT)
    ended = await ingestor.follow(commands, chance)
    assert ended.stopped is not None
    assert ended.stopped.problem.code == "too_many_errors"
    assert ended.outcome.failed == 1
    assert ended.outcome.checked == ended.outcome.rows_read - 1
    assert ended.outcome == total_of(ended)
    assert await names(ingestor) == {1: "old", 2: "old"}
    assert [row["raw"] for row in await ingestor.failed_rows(commands[0].job_id)] == ["x,bad"]
    assert await stages(ingestor) == 0


def total_of(ended: JobEnd) -> Outcome:
    """As the chunks that were loaded tell it."""
    return JobEnd(ended.loaded, None).outcome


async def test_a_failed_row_in_the_last_chunk_does_not_swap(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("old", 1))
    ended = await ingestor.do("departments", numbered("new", 1, 2) + "x,bad\n", STRICT, chunk_bytes=1000)
    assert [type(event) for event in (ended.loaded[0], ended.stopped)] == [ChunkLoaded, ImportStopped]
    assert await names(ingestor) == {1: "old"}


async def test_chunks_that_are_under_way_when_a_replacement_stops_leave_nothing(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("old", 1))
    commands = await ingestor.begin("departments", numbered("new", *range(2, 40)) + "x,bad\n", STRICT, chunk_bytes=60)
    *others, last = commands
    results = await asyncio.gather(*(until_done(ingestor.hear, message) for message in [last, *others]))
    stops = [event for one in results for event in one if isinstance(event, ImportStopped)]
    loaded = [event for one in results for event in one if isinstance(event, ChunkLoaded)]
    assert len(stops) == 1
    assert stops[0].outcome == total_of(JobEnd(loaded, None))
    assert await names(ingestor) == {1: "old"}
    assert await stages(ingestor) == 0
    assert await ingestor.pool.fetchval(
        "SELECT count(*) FROM chunks WHERE job_id = $1 AND loaded_at IS NOT NULL", last.job_id
    ) == len(loaded)


async def test_a_chunk_that_waits_while_the_stage_is_dropped_leaves_nothing(ingestor: Ingestor) -> None:
    commands = await ingestor.begin("departments", numbered("new", *range(2, 40)) + "x,bad\n", STRICT, chunk_bytes=60)
    *others, last = commands
    async with ingestor.transaction() as db:
        (_, stop) = await ingestor.handle(last, db)
        late = asyncio.create_task(ingestor.hear(others[0]))
        await somebody_waits(ingestor.pool)
    assert isinstance(stop, ImportStopped)
    assert await late == []


async def test_failed_rows_within_the_budget_are_left_out(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("old", 1, 2))
    ended = await ingestor.do(
        "departments", "x,bad\n" + numbered("new", 2, 3), LoadOptions(mode="replace", max_errors=1)
    )
    assert ended.outcome == Outcome(rows_read=3, inserted=1, updated=1, failed=1, deleted=1)
    assert await names(ingestor) == {2: "new", 3: "new"}


async def test_replacing_a_dataset_with_generated_keys_inserts_all_rows(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer
) -> None:
    old = "".join(f"Old text {number},\n" for number in range(6))
    new = "".join(f"New text {number},\n" for number in range(4))
    first = await ingestor.do("paragraphs", old)
    ended = await ingestor.do("paragraphs", new * 2, REPLACE)
    assert ended.outcome == Outcome(rows_read=8, inserted=8, deleted=6)
    assert [row["content"] for row in await ingestor.rows("paragraphs")] == (new * 2).replace(",", "").splitlines()
    refused = await ingestor.do("paragraphs", "Only one,\n", REPLACE)
    assert refused.stopped is not None
    assert refused.stopped.problem.code == "shrink_guard"
    await heard(analytics, indexer, [*first.loaded, *ended.loaded], random.Random(1), "paragraphs")


async def test_a_partitioned_dataset_is_replaced_in_all_its_years(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer
) -> None:
    before = hired((1, "Ada", 2020), (2, "Bo", 2021), (3, "Cy", 2022), (4, "Di", 2022))
    after = hired((1, "Ada", 2020), (2, "Bob", 2021), (3, "Cy", 2023), (5, "Eve", 1999))
    first = await ingestor.do("hired_employees", before)
    ended = await ingestor.do("hired_employees", after, REPLACE)
    assert ended.outcome == Outcome(rows_read=4, inserted=2, updated=1, unchanged=1, deleted=2)
    rows = await ingestor.pool.fetch("SELECT tableoid::regclass::text AS part, name FROM data.hired_employees")
    assert {(row["part"].rpartition("__")[2], row["name"]) for row in rows} == {
        ("2020", "Ada"),
        ("2021", "Bob"),
        ("2023", "Cy"),
        ("1999", "Eve"),
    }
    await heard(analytics, indexer, [*ended.loaded, *first.loaded], random.Random(2), "hired_employees")
    assert await analytics.rollup("hired_employees") == await analytics.recomputed("hired_employees")


async def test_columns_that_the_file_does_not_bring_keep_their_values(ingestor: Ingestor) -> None:
    await ingestor.do("items", "1,Chair,wood,9.99,5,true,2021-11-07,Round\n2,Table,wood,1,,,,\n")
    ended = await ingestor.do(
        "items", "1,Stool,12.50\n3,Lamp,1\n", REPLACE, columns=("id", "name", "price"), chunk_bytes=1000
    )
    assert ended.outcome == Outcome(rows_read=2, inserted=1, updated=1, deleted=1)
    rows = {row["id"]: (row["name"], str(row["price"]), row["category"]) for row in await ingestor.rows("items")}
    assert rows == {1: ("Stool", "12.50", "wood"), 3: ("Lamp", "1.00", None)}


@pytest.mark.parametrize("end", ["SELECT 1 / 0", "SELECT pg_terminate_backend(pg_backend_pid())"])
async def test_a_swap_that_fails_leaves_everything_as_it_was_and_can_be_done_again(
    ingestor: Ingestor, end: str
) -> None:
    await ingestor.do("departments", numbered("old", 1, 2))
    swap = await staged(ingestor, numbered("new", 2, 3))
    before = await everything(ingestor)
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await swap_and(ingestor, swap, end)
    assert await everything(ingestor) == before
    (event,) = await ingestor.hear(swap)
    assert isinstance(event, ChunkLoaded)
    assert (event.outcome.inserted, event.outcome.updated, event.outcome.deleted) == (1, 1, 1)
    assert await names(ingestor) == {2: "new", 3: "new"}
    assert await ingestor.hear(swap) == []


async def swap_and(ingestor: Ingestor, swap: SwapStage, end: str) -> None:
    """All is done but the commit, and then comes the end."""
    async with ingestor.transaction() as db:
        await ingestor.handle(swap, db)
        assert await db.fetchval("SELECT array_agg(id ORDER BY id) FROM data.departments") == [2, 3]
        await db.execute(end)


async def test_an_import_that_comes_during_the_swap_is_loaded_after_it(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("old", 1, 2))
    swap = await staged(ingestor, numbered("new", 2))
    async with ingestor.transaction() as db:
        await ingestor.handle(swap, db)
        other = asyncio.create_task(ingestor.do("departments", numbered("other", 1, 2, 3)))
        await somebody_waits(ingestor.pool)
    assert (await other).outcome == Outcome(rows_read=3, inserted=2, updated=1)
    assert await names(ingestor) == {1: "other", 2: "other", 3: "other"}


async def test_what_an_import_calls_unchanged_during_the_swap_is_not_gone_after_it(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("same", 1, 2))
    swap = await staged(ingestor, numbered("same", 2))
    async with ingestor.transaction() as db:
        await ingestor.handle(swap, db)
        # Department 1 stands as long as the swap has not committed; 3 can't be inserted before it has.
        other = asyncio.create_task(ingestor.do("departments", numbered("same", 1, 3)))
        await somebody_waits(ingestor.pool)
    assert (await other).outcome == Outcome(rows_read=2, inserted=2)
    assert await names(ingestor) == {1: "same", 2: "same", 3: "same"}


async def test_the_swap_waits_for_imports_that_are_under_way(ingestor: Ingestor) -> None:
    await ingestor.do("departments", numbered("old", 1, 2))
    swap = await staged(ingestor, numbered("new", 1, 2))
    (chunk,) = await ingestor.begin("departments", numbered("other", 2, 3))
    async with ingestor.transaction() as db:
        await ingestor.handle(chunk, db)
        swapping = asyncio.create_task(ingestor.hear(swap))
        await somebody_waits(ingestor.pool)
        assert await names(ingestor) == {1: "old", 2: "old"}
    (event,) = await swapping
    assert isinstance(event, ChunkLoaded)
    assert (event.outcome.updated, event.outcome.deleted) == (2, 1)
    assert await names(ingestor) == {1: "new", 2: "new"}


async def test_two_replacements_at_once_end_as_one_after_the_other(ingestor: Ingestor) -> None:
    one = await staged(ingestor, numbered("one", 1, 2), AT_ANY_LOSS)
    two = await staged(ingestor, numbered("two", 2, 3), AT_ANY_LOSS)
    assert await stages(ingestor) == 2
    results = await asyncio.gather(until_done(ingestor.hear, one), until_done(ingestor.hear, two))
    assert sum(event.outcome.inserted for (event,) in results if isinstance(event, ChunkLoaded)) == 3
    assert await names(ingestor) in ({1: "one", 2: "one"}, {2: "two", 3: "two"})
    assert await stages(ingestor) == 0


async def test_a_job_of_which_a_chunk_was_given_up_keeps_its_stage_for_a_redrive(ingestor: Ingestor) -> None:
    loads = await ingestor.begin("departments", numbered("new", *range(1, 9)), REPLACE, chunk_bytes=30)
    await ingestor.give_up(loads[0])
    for load in loads[1:]:
        assert [type(result) for result in await ingestor.hear(load)] == [ChunkLoaded]
    assert await stages(ingestor) == 1
    await ingestor.redrive(loads[0])
    ended = await ingestor.follow([loads[0]])
    assert sum(event.outcome.inserted for event in ended.loaded) == 8
    assert await stages(ingestor) == 0
