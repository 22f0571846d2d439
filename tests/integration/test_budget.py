"""The error budget of a job, the limit of stored failed rows, and references to other datasets."""

import asyncio
import random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from shared.bus import inbox
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import LoadOptions, Outcome
from tests.integration.ingestor_runner import Ingestor, JobEnd, LoadCommand, LoadResult, somebody_waits, total
from tests.integration.job_stories import until_done

BAD = "x,bad\n"
CHECKED = LoadOptions(check_references=True)


def good(*numbers: int) -> str:
    return "".join(f"{number},Department {number}\n" for number in numbers)


async def ids(ingestor: Ingestor, dataset: str = "departments") -> list[int]:
    return [row["id"] for row in await ingestor.rows(dataset)]


async def counted(ingestor: Ingestor, job_id: UUID) -> dict[tuple[str, str], int]:
    """How many rows failed how."""
    rows = await ingestor.pool.fetch(
        'SELECT code, "column", sum(rows)::int AS rows FROM failures WHERE job_id = $1 GROUP BY 1, 2', job_id
    )
    return {(row["code"], row["column"]): row["rows"] for row in rows}


async def errors(ingestor: Ingestor, job_id: UUID) -> dict[int, list[tuple[str, str]]]:
    """Of the failed rows, by line."""
    return {
        row["line"]: [(error["code"], error["column"]) for error in row["errors"]]
        for row in await ingestor.failed_rows(job_id)
    }


def stop_of(results: list[LoadResult]) -> ImportStopped:
    """The event that stops the job, which follows the chunk that was too much."""
    loaded, stopped = results
    assert isinstance(loaded, ChunkLoaded)
    assert isinstance(stopped, ImportStopped)
    return stopped


async def test_a_job_with_more_failed_rows_than_allowed_stops_and_reports_what_was_done(ingestor: Ingestor) -> None:
    pieces = [good(1, 2) + BAD, good(3, 4), good(5) + BAD + "7,\n", good(8)]
    commands = await pieces_of(ingestor, pieces, LoadOptions(max_errors=2))
    (first,) = await ingestor.hear(commands[0])
    assert isinstance(first, ChunkLoaded)
    stopped = stop_of(await ingestor.hear(commands[2]))
    assert stopped.problem.code == "too_many_errors"
    assert stopped.problem.detail == "3 of 6 rows failed; 2 are allowed."
    assert stopped.outcome == Outcome(rows_read=6, inserted=3, failed=3)
    assert await ids(ingestor) == [1, 2, 5]
    before = await errors(ingestor, commands[0].job_id)
    assert sorted(before) == [3, 7, 8]
    # What comes later is heard, and nothing is done about it.
    for message in (commands[1], commands[3]):
        assert await ingestor.hear(message) == []
        async with ingestor.transaction() as db:
            assert not await inbox.claim(db, message.id, message.name())
    assert await ids(ingestor) == [1, 2, 5]
    assert await errors(ingestor, commands[0].job_id) == before


async def pieces_of(ingestor: Ingestor, pieces: list[str], load_options: LoadOptions) -> list[LoadCommand]:
    """A chunk for each piece."""
    size = max(map(len, pieces))
    padded = [piece.replace("\n", " " * (size - len(piece)) + "\n", 1) for piece in pieces]
    commands = await ingestor.begin("departments", "".join(padded), load_options, chunk_bytes=size)
    assert len(commands) == len(pieces)
    return [*commands]


async def test_as_many_failed_rows_as_are_allowed_do_not_stop_a_job(ingestor: Ingestor) -> None:
    ended = await ingestor.do("departments", BAD * 2 + good(1), LoadOptions(max_errors=2), chunk_bytes=10)
    assert (ended.stopped, ended.outcome) == (None, Outcome(rows_read=3, inserted=1, failed=2))


async def test_rows_that_the_table_refuses_count_too(ingestor: Ingestor) -> None:
    await ingestor.do("departments", good(1, 2))
    ended = await ingestor.do("departments", good(1, 2, 3), LoadOptions(mode="insert", max_errors=1), chunk_bytes=1000)
    assert ended.stopped is not None
    assert ended.outcome == Outcome(rows_read=3, inserted=1, failed=2)


@pytest.mark.parametrize(("failed", "stops"), [(100, False), (101, True)])
async def test_the_share_of_failed_rows_counts_after_a_thousand(
    ingestor: Ingestor, failed: int, *, stops: bool
) -> None:
    size = 1000
    text = BAD * failed + good(*range(1000, 2000 - failed))
    load_options = LoadOptions(max_error_rate=0.1)
    ended = await ingestor.do("departments", text, load_options, chunk_bytes=size)
    assert len(ended.loaded) > 3
    assert (ended.stopped is not None) is stops
    assert ended.outcome == Outcome(rows_read=1000, inserted=1000 - failed, failed=failed)
    # At first the share was far above.
    assert ended.loaded[0].outcome.failed == failed


async def test_a_chunk_that_is_under_way_when_the_job_stops_is_taken_back(ingestor: Ingestor) -> None:
    await ingestor.do("departments", "5,before\n")
    commands = await pieces_of(ingestor, [BAD, good(5, 6) + BAD, good(7)], LoadOptions(max_errors=0))
    other_job = await ingestor.begin("departments", good(9))
    async with ingestor.transaction() as db:
        stopped = stop_of(await ingestor.handle(commands[0], db))
        others = [asyncio.create_task(ingestor.hear(message)) for message in (*commands[1:], *other_job)]
        await somebody_waits(ingestor.pool)
    assert [[type(event) for event in results] for results in await asyncio.gather(*others)] == [[], [], [ChunkLoaded]]
    assert stopped.outcome == Outcome(rows_read=1, failed=1)
    assert {row["id"]: row["department"] for row in await ingestor.rows("departments")} == {
        5: "before",
        9: "Department 9",
    }
    assert list(await errors(ingestor, commands[0].job_id)) == [1]
    assert await counted(ingestor, commands[0].job_id) == {("type", "id"): 1}
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0
    loaded = "SELECT count(*) FROM chunks WHERE job_id = $1 AND loaded_at IS NOT NULL"
    assert await ingestor.pool.fetchval(loaded, commands[0].job_id) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_job_stops_once_and_its_books_are_right_when_chunks_load_at_once(ingestor: Ingestor, seed: int) -> None:
    chance = random.Random(seed)
    lines = [BAD if chance.random() < 0.2 else good(chance.randint(1, 30)) for _ in range(120)]
    commands = await ingestor.begin("departments", "".join(lines), LoadOptions(max_errors=9))
    results = await asyncio.gather(*(until_done(ingestor.hear, message) for message in commands))
    ended = JobEnd([event for one in results for event in one if isinstance(event, ChunkLoaded)], None)
    (stopped,) = (event for one in results for event in one if isinstance(event, ImportStopped))
    assert stopped.outcome == ended.outcome
    assert stopped.outcome.failed > 9
    assert len(await ingestor.failed_rows(commands[0].job_id)) == stopped.outcome.failed
    assert len(await ids(ingestor)) == stopped.outcome.inserted


@pytest.mark.parametrize(("most", "at_once"), [(0, True), (7, False), (7, True), (1000, True)])
async def test_only_so_many_failed_rows_are_kept_but_all_are_counted(
    ingestor: Ingestor, most: int, *, at_once: bool
) -> None:
    lines = [("x,bad\n", ",\n", good(number))[number % 3] for number in range(1, 61)]
    commands = await ingestor.begin("departments", "".join(lines), LoadOptions(max_failed_rows=most), chunk_bytes=40)
    assert len(commands) > 8
    if at_once:
        results = await asyncio.gather(*(until_done(ingestor.hear, message) for message in commands))
        outcome = total([event for one in results for event in one if isinstance(event, ChunkLoaded)])
    else:
        outcome = (await ingestor.follow(commands)).outcome
    assert outcome == Outcome(rows_read=60, inserted=20, failed=40)
    job_id = commands[0].job_id
    assert len(await ingestor.failed_rows(job_id)) == min(most, 40)
    assert await counted(ingestor, job_id) == {
        ("type", "id"): 20,
        ("required", "id"): 20,
        ("required", "department"): 20,
    }
    kept: Any = await ingestor.pool.fetchval("SELECT failed_kept FROM imports WHERE job_id = $1", job_id)
    assert kept == min(most, 40)


async def test_a_row_that_refers_to_nothing_fails_with_everything_else_that_is_wrong(ingestor: Ingestor) -> None:
    await ingestor.do("departments", good(1, 2))
    await ingestor.do("jobs", "1,Job\n")
    text = (
        "1,Ada,2021-01-01T00:00:00Z,1,1\n"
        "2,Bo,2021-01-01T00:00:00Z,3,1\n"
        "3,,2021-13-01T00:00:00Z,3,7\n"
        "4,Di,2021-01-01T00:00:00Z,,x\n"
    )
    commands = await ingestor.begin("hired_employees", text, CHECKED)
    assert (await ingestor.follow(commands)).outcome == Outcome(rows_read=4, inserted=1, failed=3)
    job_id = commands[0].job_id
    found = await errors(ingestor, job_id)
    assert {line: set(one) for line, one in found.items()} == {
        2: {("reference", "department_id")},
        3: {("required", "name"), ("type", "hired_at"), ("reference", "department_id"), ("reference", "job_id")},
        4: {("required", "department_id"), ("type", "job_id")},
    }
    first = (await ingestor.failed_rows(job_id))[0]
    assert first["errors"][0]["value"] == "3"
    assert "departments.id 3" in first["errors"][0]["detail"]
    assert (await counted(ingestor, job_id))["reference", "department_id"] == 2
    # Without the option, no reference is looked up.
    assert (await ingestor.do("hired_employees", text)).outcome == Outcome(
        rows_read=4, inserted=1, unchanged=1, failed=2
    )


async def test_validating_looks_references_up_too(ingestor: Ingestor) -> None:
    load_options = LoadOptions(validate_only=True, check_references=True)
    ended = await ingestor.do("hired_employees", "1,Ada,2021-01-01T00:00:00Z,1,1\n", load_options)
    assert ended.outcome == Outcome(rows_read=1, failed=1)


@pytest.mark.parametrize(
    ("kind", "there", "text"),
    [
        ("string", "Zürich", "Zürich\nBern\n"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123E4567-e89b-12d3-a456-426614174000\n{}\n"),
        ("decimal(8,2)", "1.50", "1.5\n2.50\n"),
        ("date", "2021-11-07", "2021-11-07\n2021-11-08\n"),
        ("datetime", "2021-11-07T02:00:00Z", "2021-11-07T03:00:00+01:00\n2021-11-07T03:00:00Z\n"),
    ],
)
async def test_references_of_any_type_are_looked_up(ingestor: Ingestor, kind: str, there: str, text: str) -> None:
    text = text.format("123e4567-e89b-12d3-a456-426614174001")
    await declare(ingestor, "places", kind)
    await declare(ingestor, "visits", kind, references="places.place")
    assert (await ingestor.do("places", f"{there}\n", columns=("place",))).outcome.inserted == 1
    commands = await ingestor.begin("visits", text, CHECKED, columns=("place",))
    assert (await ingestor.follow(commands)).outcome == Outcome(rows_read=2, inserted=1, failed=1)
    assert await errors(ingestor, commands[0].job_id) == {2: [("reference", "place")]}


async def declare(ingestor: Ingestor, name: str, kind: str, **more: str) -> None:
    """A dataset of one field, which is its key."""
    field = {"name": "place", "type": kind, "required": True, **more}
    if kind == "string":
        field["max_length"] = 50
    await ingestor.declare(name, {"title": name, "primary_key": ["place"], "fields": [field]})


async def test_where_a_reference_leads_nowhere_every_row_fails(ingestor: Ingestor) -> None:
    await declare(ingestor, "visits", "integer", references="nowhere.id")
    commands = await ingestor.begin("visits", "1\n2\nx\n", CHECKED, columns=("place",))
    assert (await ingestor.follow(commands)).outcome == Outcome(rows_read=3, failed=3)
    assert await errors(ingestor, commands[0].job_id) == {
        1: [("reference", "place")],
        2: [("reference", "place")],
        3: [("type", "place")],
    }


async def test_the_event_of_a_stop_can_be_sent_again(ingestor: Ingestor) -> None:
    ended = await ingestor.do("departments", BAD + good(1), LoadOptions(max_errors=0))
    assert ended.stopped is not None
    again = msgspec.convert(
        await ingestor.pool.fetchval("SELECT stopped FROM imports WHERE stopped IS NOT NULL"),
        type(ended.stopped.problem),
    )
    assert again == ended.stopped.problem
