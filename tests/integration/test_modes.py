"""The modes upsert, insert, append and validate over the same rows, with chunks in any order."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest

from shared.contracts.commands import LoadChunk
from shared.contracts.parts import LoadOptions, Outcome
from tests.integration.ingestor_runner import Ingestor, somebody_waits

INSERT = LoadOptions(mode="insert")
APPEND = LoadOptions(mode="append")
VALIDATE = LoadOptions(validate_only=True)


def departments(*rows: tuple[int, str]) -> str:
    return "".join(f"{number},{name}\n" for number, name in rows)


def paragraphs(*texts: str) -> str:
    return "".join(f"{text},2021-11-07T00:00:00Z\n" for text in texts)


async def names(ingestor: Ingestor) -> dict[int, str]:
    """Of the departments."""
    return {row["id"]: row["department"] for row in await ingestor.rows("departments")}


async def kept(ingestor: Ingestor, job_id: UUID) -> list[tuple[int, str, list[tuple[str, str]]]]:
    """Line, text and errors of the failed rows."""
    rows = await ingestor.failed_rows(job_id)
    return [(row["line"], row["raw"], [(e["code"], e["column"]) for e in row["errors"]]) for row in rows]


async def counted(ingestor: Ingestor, job_id: UUID) -> dict[tuple[str, str], int]:
    """How many rows failed how."""
    rows = await ingestor.pool.fetch(
        'SELECT code, "column", sum(rows)::int AS rows FROM failures WHERE job_id = $1 GROUP BY 1, 2', job_id
    )
    return {(row["code"], row["column"]): row["rows"] for row in rows}


async def everything(ingestor: Ingestor) -> list[Any]:
    """Whatever readers of the rows can see."""
    tables = ("data.departments", "replaced")
    return [await ingestor.pool.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


def slices(text: str, chunks: list[LoadChunk]) -> list[dict[int, str]]:
    """The departments of each chunk, by id; of two with one id the later one."""
    pieces = [text.encode()[chunk.start : chunk.end].decode() for chunk in chunks]
    lines = [[line.split(",") for line in piece.splitlines()] for piece in pieces]
    return [{int(number): name for number, name in piece} for piece in lines]


async def test_insert_refuses_a_key_that_is_there_and_loads_the_others(ingestor: Ingestor) -> None:
    await ingestor.do("departments", departments((1, "before"), (3, "before")))
    text = departments((1, "new"), (2, "new")) + "x,bad\n" + departments((3, "before"), (4, "new"))
    commands = await ingestor.begin("departments", text, INSERT, chunk_bytes=1000)
    assert (await ingestor.follow(commands)).outcome == Outcome(rows_read=5, inserted=2, failed=3)
    assert await names(ingestor) == {1: "before", 2: "new", 3: "before", 4: "new"}
    job_id = commands[0].job_id
    assert await kept(ingestor, job_id) == [
        (1, "1,new", [("key_exists", "id")]),
        (3, "x,bad", [("type", "id")]),
        (4, "3,before", [("key_exists", "id")]),
    ]
    assert await counted(ingestor, job_id) == {("key_exists", "id"): 2, ("type", "id"): 1}
    assert (await ingestor.failed_rows(job_id))[0]["errors"][0]["value"] == "1"
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0


async def test_insert_names_all_fields_of_a_key(ingestor: Ingestor) -> None:
    line = '7,"Ada\nLovelace",2021-11-07T00:00:00Z,1,1\n'
    await ingestor.do("hired_employees", line)
    commands = await ingestor.begin("hired_employees", line, INSERT)
    assert (await ingestor.follow(commands)).outcome == Outcome(rows_read=1, failed=1)
    (row,) = await ingestor.failed_rows(commands[0].job_id)
    assert (row["line"], row["raw"]) == (1, line.rstrip())
    (error,) = row["errors"]
    assert (error["code"], error["column"]) == ("key_exists", "id,hired_at")
    assert error["value"].startswith("7,2021-11-07")


@pytest.mark.parametrize("rows", [5, 40])  # few are always merged, many are copied as long as no key is there
async def test_insert_into_an_empty_table_takes_the_last_row_of_each_key(ingestor: Ingestor, rows: int) -> None:
    text = departments(*((number, "new") for number in range(1, rows + 1)), (2, "newer"), (2, "newest"))
    ended = await ingestor.do("departments", text, INSERT, chunk_bytes=10_000)
    assert ended.outcome == Outcome(rows_read=rows + 2, inserted=rows, duplicates=2)
    assert (await names(ingestor))[2] == "newest"


@pytest.mark.parametrize("seed", range(12))
async def test_insert_gives_the_same_in_whatever_order_its_chunks_come(ingestor: Ingestor, seed: int) -> None:
    chance = random.Random(seed)
    before = dict.fromkeys(chance.sample(range(1, 20), 5), "before")
    await ingestor.do("departments", departments(*before.items()))
    rows = [(chance.randint(1, 20), chance.choice(["before", "red", "green"])) for _ in range(60)]
    text = departments(*rows)
    commands = await ingestor.begin("departments", text, INSERT)
    chunks = [message for message in commands if isinstance(message, LoadChunk)]
    assert len(chunks) > 4
    ended = await ingestor.follow(commands, chance)
    assert await names(ingestor) == dict(rows) | before
    taken = sum(number in before for piece in slices(text, chunks) for number in piece)
    inserted = len(dict(rows).keys() - before.keys())
    assert ended.outcome == Outcome(rows_read=60, inserted=inserted, failed=taken, duplicates=60 - inserted - taken)


@pytest.mark.parametrize("load_options", [LoadOptions(), INSERT], ids=["upsert", "insert"])
@pytest.mark.parametrize("seed", range(12))
async def test_the_last_row_of_a_key_wins_even_if_an_equal_row_came_before(
    ingestor: Ingestor, seed: int, load_options: LoadOptions
) -> None:
    chance = random.Random(seed)
    await ingestor.do("departments", departments((1, "red")))
    rows = [(chance.randint(2, 4), chance.choice(["red", "green"])) for _ in range(60)]
    if load_options.mode == "upsert":
        rows = [(number - 1, name) for number, name in rows]
    ended = await ingestor.do("departments", departments(*rows), load_options, chance=chance, chunk_bytes=30)
    assert await names(ingestor) == {1: "red"} | dict(rows)
    assert (ended.outcome.rows_read, ended.outcome.failed) == (60, 0)
    assert ended.outcome.balanced()


async def test_two_inserts_of_the_same_keys_at_once_write_each_once(ingestor: Ingestor) -> None:
    one = await ingestor.begin("departments", departments((1, "one"), (2, "one")), INSERT)
    two = await ingestor.begin("departments", departments((2, "two"), (3, "two")), INSERT)
    async with ingestor.transaction() as db:
        await ingestor.handle(one[0], db)
        other = asyncio.create_task(ingestor.follow(two))
        await somebody_waits(ingestor.pool)
    assert (await other).outcome == Outcome(rows_read=2, inserted=1, failed=1)
    assert await names(ingestor) == {1: "one", 2: "one", 3: "two"}


@pytest.mark.parametrize(
    "load_options", [LoadOptions(), INSERT, LoadOptions(mode="replace")], ids=lambda load_options: load_options.mode
)
async def test_what_is_delivered_again_is_skipped(ingestor: Ingestor, load_options: LoadOptions) -> None:
    await ingestor.do("departments", departments((1, "before")))
    commands = await ingestor.begin("departments", departments((1, "new"), (2, "new")), load_options)
    await ingestor.follow(commands)
    before = await everything(ingestor)
    assert [await ingestor.hear(message) for message in commands] == [[]]
    assert await everything(ingestor) == before


async def test_a_dataset_whose_key_postgres_numbers_is_only_added_to(ingestor: Ingestor) -> None:
    texts = [f"Once upon a time {number}" for number in range(30)]
    for _ in range(2):
        ended = await ingestor.do("paragraphs", paragraphs(*texts), APPEND, chunk_bytes=700)
        assert len(ended.loaded) > 1
        assert ended.outcome == Outcome(rows_read=30, inserted=30)
    rows = await ingestor.rows("paragraphs")
    assert [row["content"] for row in rows] == [*texts, *texts]
    assert [row["id"] for row in rows] == list(range(1, 61))


async def test_validating_writes_nothing_and_reports_everything(ingestor: Ingestor) -> None:
    await ingestor.do("departments", departments((1, "before")))
    before = await everything(ingestor)
    text = departments((1, "new"), (2, "new"), (2, "new")) + "x,bad\n,\n"
    commands = await ingestor.begin("departments", text, VALIDATE, chunk_bytes=16)
    ended = await ingestor.follow(commands)
    assert len(ended.loaded) > 1
    assert ended.outcome == Outcome(rows_read=5, checked=3, failed=2)
    assert ended.outcome.balanced()
    assert await everything(ingestor) == before
    assert await kept(ingestor, commands[0].job_id) == [
        (4, "x,bad", [("type", "id")]),
        (5, ",", [("required", "id"), ("required", "department")]),
    ]
    assert await counted(ingestor, commands[0].job_id) == {
        ("type", "id"): 1,
        ("required", "id"): 1,
        ("required", "department"): 1,
    }


async def test_validating_makes_no_partition_and_no_stage(ingestor: Ingestor) -> None:
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('data', 'ingestor')"
    before = await ingestor.pool.fetchval(tables)
    for mode in ("upsert", "insert", "replace"):
        ended = await ingestor.do(
            "hired_employees", "1,Ada,2031-01-01T00:00:00Z,1,1\n", LoadOptions(mode=mode, validate_only=True)
        )
        assert ended.outcome == Outcome(rows_read=1, checked=1)
    assert await ingestor.pool.fetchval(tables) == before
    assert await ingestor.rows("hired_employees") == []
