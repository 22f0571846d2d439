"""Loading chunks: from the bytes of a file to rows, failed rows and the chunk ledger."""

import asyncio
import datetime as dt
import random
from typing import Any

import asyncpg
import pytest

from services.ingestor import chunk_ledger
from services.ingestor.write import merge
from shared.bus.failures import NotReady, PermanentFailure
from shared.contracts.commands import LoadChunk
from shared.contracts.parts import Outcome
from tests.integration.ingestor_runner import Ingestor, somebody_waits, total


def hired(*rows: tuple[int, str, str]) -> str:
    """Lines of hired employees: id, name and the day of hire."""
    return "".join(f"{number},{name},{day}T00:00:00Z,1,1\n" for number, name, day in rows)


def departments(*rows: tuple[int, str]) -> str:
    return "".join(f"{number},{name}\n" for number, name in rows)


async def names(ingestor: Ingestor) -> dict[int, str]:
    """Of the departments."""
    return {row["id"]: row["department"] for row in await ingestor.rows("departments")}


async def places(ingestor: Ingestor) -> dict[int, tuple[Any, Any]]:
    """Where the rows of the departments stand and which transaction put them there: both change with a rewrite."""
    rows = await ingestor.pool.fetch("SELECT id, ctid::text AS place, xmin::text AS by FROM data.departments")
    return {row["id"]: (row["place"], row["by"]) for row in rows}


async def test_every_chunk_reports_what_became_of_its_rows(ingestor: Ingestor) -> None:
    first = "".join(f"{number},Department {number}\n" for number in range(1, 11))
    second = "11,Department 11\nx,Nowhere\n12,\n12,Department 12\n"
    chunks = await ingestor.plan("departments", first + second, chunk_bytes=len(first))
    assert [(chunk.start, chunk.end, chunk.line) for chunk in chunks] == [
        (0, len(first), 1),
        (len(first), len(first + second), 11),
    ]
    one, two = await ingestor.load_all(chunks)
    assert one.outcome == Outcome(rows_read=10, inserted=10)
    assert two.outcome == Outcome(rows_read=4, inserted=2, failed=2)
    assert (one.bytes, two.bytes) == (len(first), len(second))
    assert two.version == one.version + 1
    rows = await ingestor.rows("departments")
    assert {row["_chunk"] for row in rows} == {one.ledger, two.ledger}
    assert await names(ingestor) == {number: f"Department {number}" for number in range(1, 13)}


async def test_of_two_rows_with_one_key_in_a_chunk_the_later_one_wins(ingestor: Ingestor) -> None:
    outcome = await ingestor.bring("departments", departments((1, "old"), (2, "other"), (1, "older"), (1, "new")))
    assert outcome == Outcome(rows_read=4, inserted=2, duplicates=2)
    assert await names(ingestor) == {1: "new", 2: "other"}


@pytest.mark.parametrize("seed", range(12))
async def test_the_last_row_of_a_key_wins_in_whatever_order_the_chunks_are_loaded(
    ingestor: Ingestor, seed: int
) -> None:
    chance = random.Random(seed)
    await ingestor.bring("departments", departments(*((number, "before") for number in range(1, 5))))
    rows = [(chance.randint(1, 12), f"Department {position}") for position in range(60)]
    chunks = await ingestor.plan("departments", departments(*rows))
    assert len(chunks) > 6
    outcome = total(await ingestor.load_all(chunks, chance))
    expected = dict.fromkeys(range(1, 5), "before") | dict(rows)
    assert await names(ingestor) == expected
    keys = {number for number, _ in rows}
    assert outcome.rows_read == 60
    assert outcome.duplicates == 60 - len(keys)
    assert outcome.updated == len(keys & set(range(1, 5)))
    assert outcome.inserted == len(keys - set(range(1, 5)))
    assert outcome.balanced()


async def test_a_chunk_with_unchanged_rows_waits_for_the_earlier_chunks(ingestor: Ingestor) -> None:
    await ingestor.bring("departments", departments((1, "stays")))
    text = departments((1, "first"), (2, "last")) + departments((1, "stays"), (2, "last"))
    first, last = await ingestor.plan("departments", text, chunk_bytes=16)
    with pytest.raises(NotReady):
        await ingestor.load(last)
    assert await names(ingestor) == {1: "stays"}
    await ingestor.load(first)
    assert await names(ingestor) == {1: "first", 2: "last"}
    assert (await ingestor.load(last)).outcome == Outcome(rows_read=2, duplicates=2)
    assert await names(ingestor) == {1: "stays", 2: "last"}


async def test_a_waiting_chunk_goes_on_when_the_earlier_one_is_in(
    ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "LONGEST_WAIT_SECONDS", 20.0)
    await ingestor.bring("departments", departments((1, "stays")))
    text = departments((1, "first"), (2, "last")) + departments((1, "stays"), (2, "last"))
    first, last = await ingestor.plan("departments", text, chunk_bytes=16)
    waiting = asyncio.create_task(ingestor.load(last))
    await ingestor.load(first)
    assert (await waiting).outcome == Outcome(rows_read=2, duplicates=2)
    assert await names(ingestor) == {1: "stays", 2: "last"}


async def test_a_chunk_without_unchanged_rows_waits_for_nobody(ingestor: Ingestor) -> None:
    await ingestor.bring("departments", departments((1, "before")))
    first, last = await ingestor.plan("departments", departments((1, "first"), (2, "last")) * 2, chunk_bytes=16)
    assert (await ingestor.load(last)).outcome == Outcome(rows_read=2, inserted=1, updated=1)
    assert (await ingestor.load(first)).outcome == Outcome(rows_read=2, duplicates=2)
    assert await names(ingestor) == {1: "first", 2: "last"}


async def test_a_chunk_does_not_wait_for_one_that_was_given_up(ingestor: Ingestor) -> None:
    await ingestor.bring("departments", departments((1, "first")))
    first, last = await ingestor.plan("departments", departments((1, "first"), (2, "last")) * 2, chunk_bytes=16)
    await ingestor.give_up(first)
    with pytest.raises(PermanentFailure, match="earlier chunk of the file"):
        await ingestor.load(last)
    assert await names(ingestor) == {1: "first"}


async def test_rows_that_stay_the_same_are_not_rewritten(ingestor: Ingestor) -> None:
    text = departments(*((number, f"Department {number}") for number in range(1, 21)))
    await ingestor.bring("departments", text)
    before = await places(ingestor)
    outcome = await ingestor.bring("departments", text.replace("Department 7\n", "Department Seven\n"))
    assert outcome == Outcome(rows_read=20, updated=1, unchanged=19)
    after = await places(ingestor)
    assert {number for number in before if before[number] != after[number]} == {7}


async def test_a_row_without_a_value_is_unchanged_when_it_comes_again_without_one(ingestor: Ingestor) -> None:
    text = "1,Chair,,9.99,,,,\n2,Table,wood,20,3,true,2021-11-07,Round\n"
    await ingestor.bring("items", text)
    assert await ingestor.bring("items", text) == Outcome(rows_read=2, unchanged=2)


async def test_the_image_of_a_row_before_its_change_is_kept(ingestor: Ingestor) -> None:
    (first,) = await ingestor.load_all(await ingestor.plan("departments", departments((1, "old"), (2, "same"))))
    (second,) = await ingestor.load_all(await ingestor.plan("departments", departments((1, "new"), (2, "same"))))
    (third,) = await ingestor.load_all(await ingestor.plan("departments", departments((1, "newest"))))
    kept = await ingestor.pool.fetch("SELECT * FROM replaced ORDER BY ledger")
    assert [(row["was"], row["ledger"], row["dataset"]) for row in kept] == [
        (first.ledger, second.ledger, "departments"),
        (second.ledger, third.ledger, "departments"),
    ]
    assert [row["row"] for row in kept] == [
        {"id": 1, "department": "old", "_chunk": first.ledger},
        {"id": 1, "department": "new", "_chunk": second.ledger},
    ]


async def test_columns_that_a_file_does_not_bring_keep_their_values(ingestor: Ingestor) -> None:
    await ingestor.bring("items", "1,Chair,wood,9.99,5,true,2021-11-07,Round\n")
    chunks = await ingestor.plan("items", "1,Stool,12.50\n", columns=("id", "name", "price"))
    assert total(await ingestor.load_all(chunks)) == Outcome(rows_read=1, updated=1)
    (row,) = await ingestor.rows("items")
    assert (row["name"], str(row["price"]), row["category"], row["quantity"]) == ("Stool", "12.50", "wood", 5)


async def test_a_partition_appears_for_each_year_that_comes(ingestor: Ingestor) -> None:
    await ingestor.bring("hired_employees", hired((1, "Ada", "2021-12-31"), (2, "Bo", "2022-01-01")))
    await ingestor.bring("hired_employees", hired((3, "Cy", "2022-07-01"), (4, "Di", "1999-01-01")))
    rows = await ingestor.pool.fetch(
        "SELECT tableoid::regclass::text AS part, id FROM data.hired_employees ORDER BY id"
    )
    assert [(row["part"], row["id"]) for row in rows] == [
        ("data.hired_employees__2021", 1),
        ("data.hired_employees__2022", 2),
        ("data.hired_employees__2022", 3),
        ("data.hired_employees__1999", 4),
    ]


async def test_the_same_year_may_be_new_to_two_chunks_at_once(ingestor: Ingestor) -> None:
    days = [f"2021-{month:02}-01" for month in range(1, 13)] + [f"2022-{month:02}-01" for month in range(1, 13)]
    text = hired(*((number, "Ada", day) for number, day in enumerate(days, 1)))
    chunks = await ingestor.plan("hired_employees", text, chunk_bytes=len(text) // 4)
    loaded = await asyncio.gather(*map(ingestor.load, chunks))
    assert total(loaded) == Outcome(rows_read=24, inserted=24)
    assert [row["hired_at"].year for row in await ingestor.rows("hired_employees")] == [2021] * 12 + [2022] * 12


async def test_two_files_with_the_same_keys_that_are_loaded_at_once_lose_no_row(ingestor: Ingestor) -> None:
    rounds = 5
    for number in range(rounds):
        keys = range(100 * number + 1, 100 * number + 61)
        (one,) = await ingestor.plan("departments", departments(*((k, "one") for k in keys)), chunk_bytes=10_000)
        (two,) = await ingestor.plan("departments", departments(*((k, "two") for k in keys)), chunk_bytes=10_000)
        loaded = await asyncio.gather(load_until_done(ingestor, one), load_until_done(ingestor, two))
        assert sorted(event.inserted for event in loaded) == [0, 60]
        assert sorted(event.updated for event in loaded) == [0, 60]
    assert len(await names(ingestor)) == 60 * rounds


async def load_until_done(ingestor: Ingestor, chunk: LoadChunk) -> Outcome:
    """As `Delivery` does: what met another transaction tries again."""
    while True:
        try:
            return (await ingestor.load(chunk)).outcome
        except (NotReady, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(0)


async def test_a_chunk_waits_for_the_transaction_that_holds_its_keys(ingestor: Ingestor) -> None:
    (one,) = await ingestor.plan("departments", departments((1, "one"), (2, "one")))
    (two,) = await ingestor.plan("departments", departments((2, "two"), (3, "two")))
    async with ingestor.transaction() as db:
        await ingestor.load_within(one, db)
        other = asyncio.create_task(ingestor.load(two))
        await somebody_waits(ingestor.pool)
        assert not other.done()
    loaded = await other
    assert loaded.outcome == Outcome(rows_read=2, inserted=1, updated=1)
    assert await names(ingestor) == {1: "one", 2: "two", 3: "two"}


async def test_failed_rows_have_their_line_their_text_and_all_their_errors(ingestor: Ingestor) -> None:
    good = "1,Chair,,9.99,,,,\n"
    quoted = '2,"A table\nof wood",,20,,,,\n'
    bad = "x,,wood,-1,many,perhaps,7 Nov,Round\n"
    short = "4,Lamp\n"
    text = good * 4 + quoted + bad + good + short
    chunks = await ingestor.plan("items", text, chunk_bytes=len(good) * 4)
    assert len(chunks) > 1
    outcome = total(await ingestor.load_all(chunks))
    assert outcome.failed == 2
    wrong, cut = await ingestor.failed_rows(chunks[0].job_id)
    assert (wrong["line"], wrong["raw"], wrong["state"]) == (7, bad.rstrip(), "open")
    assert {(error["column"], error["code"]) for error in wrong["errors"]} == {
        ("id", "type"),
        ("name", "required"),
        ("price", "minimum"),
        ("quantity", "type"),
        ("available", "type"),
        ("delivered_on", "type"),
    }
    assert (cut["line"], cut["raw"]) == (9, short.rstrip())
    assert [error["code"] for error in cut["errors"]] == ["row_length"]


async def test_a_transaction_that_is_killed_leaves_nothing(ingestor: Ingestor) -> None:
    await ingestor.bring("departments", departments((1, "before")))
    (chunk,) = await ingestor.plan("departments", departments((1, "after"), (2, "new")) + "x,bad\n")
    before = await everything(ingestor)
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await load_and_be_killed(ingestor, chunk)
    assert await everything(ingestor) == before
    assert (await ingestor.load(chunk)).outcome == Outcome(rows_read=3, inserted=1, updated=1, failed=1)


async def load_and_be_killed(ingestor: Ingestor, chunk: LoadChunk) -> None:
    """The work is done, and Postgres ends the session before it is committed."""
    async with ingestor.transaction() as db:
        await ingestor.load_within(chunk, db)
        assert await db.fetchval("SELECT count(*) FROM data.departments") == 2
        pid = await db.fetchval("SELECT pg_backend_pid()")
        await ingestor.pool.execute("SELECT pg_terminate_backend($1, 5000)", pid)


async def everything(ingestor: Ingestor) -> list[Any]:
    """All that a load may write."""
    tables = ("data.departments", "chunks", "failed_rows", "replaced", "datasets")
    return [await ingestor.pool.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


async def test_an_outcome_that_does_not_add_up_is_refused_by_the_ledger(ingestor: Ingestor) -> None:
    (chunk,) = await ingestor.plan("departments", departments((1, "one")))
    async with ingestor.transaction() as db:
        line = await chunk_ledger.select_chunk(db, chunk.job_id, chunk.chunk)
    with pytest.raises(asyncpg.CheckViolationError):
        async with ingestor.transaction() as db:
            await chunk_ledger.close_chunk(db, line, Outcome(rows_read=2, inserted=1))


async def test_a_file_that_is_gone_ends_the_import_and_says_so(ingestor: Ingestor) -> None:
    (chunk,) = await ingestor.plan("departments", departments((1, "one")))
    ingestor.lose(chunk.job_id)
    with pytest.raises(PermanentFailure, match="no longer in the spool"):
        await ingestor.load(chunk)
    assert await names(ingestor) == {}


async def test_times_are_kept_as_the_moments_they_were_written_as(ingestor: Ingestor) -> None:
    await ingestor.bring("hired_employees", "1,Ada,2021-11-07T02:48:42+02:00,1,1\n2,Bo,2021-01-01 00:30+01:00,1,1\n")
    rows = await ingestor.rows("hired_employees")
    assert [row["hired_at"] for row in rows] == [
        dt.datetime(2021, 11, 7, 0, 48, 42, tzinfo=dt.UTC),
        dt.datetime(2020, 12, 31, 23, 30, tzinfo=dt.UTC),
    ]
