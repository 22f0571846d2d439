"""Failed rows that are stored: replayed by a job, or discarded."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from services.ingestor.imports import failed_rows
from services.ingestor.imports.load import load_rows
from services.ingestor.imports.replay import discard_rows, plan_replay
from shared.bus import inbox
from shared.contracts.commands import DiscardRows, LoadChunk, LoadRows, PlanReplay
from shared.contracts.events import ChunkLoaded, ImportPlanned
from shared.contracts.parts import LoadOptions, Outcome
from tests.integration.ingestor_runner import Ingestor, somebody_waits, total

CHECKED = LoadOptions(check_references=True)
HIRED = (
    "1,Ada,2021-11-07T00:00:00Z,7,1\n"  # department 7 comes later
    "2,Bo,2021-11-07T00:00:00Z,1,1\n"
    '3,"Cy\nthe younger",2021-11-07T00:00:00Z,7,9\n'  # so does job 9
    "4,,2021-11-07T00:00:00Z,8,1\n"  # a name is never there
    '5,D"i,2021-11-07T00:00:00Z,1,1\n'
)
LINES = {1: "reference", 3: "reference", 5: "required", 6: "stray_quote"}


async def hire(ingestor: Ingestor, text: str = HIRED, *, load_options: LoadOptions = CHECKED) -> UUID:
    """A job that has loaded the text after one department and one job."""
    await ingestor.bring("departments", "1,First\n")
    await ingestor.bring("jobs", "1,First\n")
    chunks = await ingestor.plan("hired_employees", text)
    await ingestor.pool.execute("UPDATE imports SET load_options = $1", msgspec.to_builtins(load_options))
    await ingestor.load_all(chunks)
    return chunks[0].job_id


async def replay(
    ingestor: Ingestor,
    job_id: UUID,
    *,
    dataset: str = "hired_employees",
    load_options: LoadOptions = CHECKED,
    **chosen: str,
) -> list[LoadChunk]:
    """The chunks of a job that takes failed rows up."""
    command = PlanReplay(dataset=dataset, job_id=uuid4(), replay_of=job_id, load_options=load_options, **chosen)
    async with ingestor.transaction() as db:
        *messages, planned = await plan_replay(command, db)
    assert isinstance(planned, ImportPlanned)
    loads = [message for message in messages if isinstance(message, LoadChunk)]
    assert loads == messages
    assert [load.chunk for load in loads] == list(range(1, planned.chunks + 1))
    assert sum(load.end - load.start for load in loads) == planned.bytes
    return loads


async def discard(ingestor: Ingestor, job_id: UUID, request_id: UUID | None = None, **chosen: str) -> None:
    command = DiscardRows(dataset="hired_employees", request_id=request_id or uuid4(), failed_in=job_id, **chosen)
    async with ingestor.transaction() as db:
        await discard_rows(command, db)


async def states(ingestor: Ingestor, job_id: UUID) -> dict[int, str]:
    """By line."""
    return {row["line"]: row["state"] for row in await ingestor.failed_rows(job_id)}


async def ids(ingestor: Ingestor) -> list[int]:
    return [row["id"] for row in await ingestor.rows("hired_employees")]


def codes(rows: Sequence[asyncpg.Record]) -> dict[int, str]:
    """Of the first error of each row, by line."""
    return {row["line"]: row["errors"][0]["code"] for row in rows}


async def test_a_row_is_loaded_once_what_it_refers_to_is_there(ingestor: Ingestor) -> None:
    job_id = await hire(ingestor)
    assert codes(await ingestor.failed_rows(job_id)) == LINES
    await ingestor.bring("departments", "7,Seventh\n")
    loads = await replay(ingestor, job_id)
    assert total(await ingestor.load_all(loads)) == Outcome(rows_read=3, inserted=1, failed=2)
    assert await ids(ingestor) == [1, 2]
    again = loads[0].job_id
    assert await states(ingestor, job_id) == {1: "replayed", 3: "replayed", 5: "replayed", 6: "open"}
    assert {row["resolved_by"] for row in await ingestor.failed_rows(job_id)} == {again, None}
    # What fails again is a failed row of the new job, where it stood at first; and so on.
    assert codes(await ingestor.failed_rows(again)) == {3: "reference", 5: "required"}
    assert await states(ingestor, again) == {3: "open", 5: "open"}
    await ingestor.bring("jobs", "9,Ninth\n")
    assert total(await ingestor.load_all(await replay(ingestor, again))) == Outcome(rows_read=2, inserted=1, failed=1)
    assert (await ingestor.rows("hired_employees"))[2]["name"] == "Cy\nthe younger"


async def test_only_the_chosen_rows_are_replayed(ingestor: Ingestor) -> None:
    job_id = await hire(ingestor)
    await replay(ingestor, job_id, code="reference", column="job_id")
    assert await states(ingestor, job_id) == {1: "open", 3: "replayed", 5: "open", 6: "open"}
    # Code and column of the same error: row 5 lacks a name and refers to no department, but not the other way round.
    assert await replay(ingestor, job_id, code="required", column="department_id") == []
    await replay(ingestor, job_id, column="department_id")
    assert await states(ingestor, job_id) == {1: "replayed", 3: "replayed", 5: "replayed", 6: "open"}


async def test_rows_that_cannot_be_read_again_stay_open_and_the_job_says_so(ingestor: Ingestor) -> None:
    long = f"9,{'x' * 70_000},2021-11-07T00:00:00Z,7,1\n"
    job_id = await hire(ingestor, HIRED + '"open,2021\n' + "8,A\0,2021-11-07T00:00:00Z,1,1\n" + long + " \t\n")
    (load,) = await replay(ingestor, job_id)
    assert {line for line, state in (await states(ingestor, job_id)).items() if state == "open"} == {6, 7, 8, 9, 10}
    warning = await ingestor.pool.fetchval("SELECT warning FROM imports WHERE job_id = $1", load.job_id)
    assert (warning["code"], warning["detail"].split()[0]) == ("rows_left_out", "5")
    assert await ingestor.load_all([load])


async def test_a_row_is_never_taken_up_by_two_jobs(ingestor: Ingestor) -> None:
    job_id = await hire(ingestor)
    async with ingestor.transaction() as db:
        first = PlanReplay(
            dataset="hired_employees", job_id=uuid4(), replay_of=job_id, load_options=CHECKED, column="job_id"
        )
        messages = await plan_replay(first, db)
        other = asyncio.create_task(replay(ingestor, job_id))
        giving_up = asyncio.create_task(discard(ingestor, job_id))
        await somebody_waits(ingestor.pool)
        assert not other.done()
    assert isinstance(messages[0], LoadChunk)
    await giving_up
    taken = await lines(ingestor, await other)
    assert await lines(ingestor, [messages[0]]) == [3]
    assert taken in ([1, 5], [])
    assert await states(ingestor, job_id) == {
        3: "replayed",
        6: "discarded",
        **dict.fromkeys((1, 5), "replayed" if taken else "discarded"),
    }


async def lines(ingestor: Ingestor, loads: Sequence[LoadChunk]) -> list[int]:
    """The lines that these chunks are about."""
    async with ingestor.transaction() as db:
        return [line for load in loads for line, _ in await failed_rows.select_raw_rows(db, load.job_id, load.chunk)]


@pytest.mark.parametrize(("rows", "size"), [(2, 1 << 20), (1000, 60), (3, 100)])
async def test_many_rows_are_several_chunks(
    ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    monkeypatch.setattr(failed_rows, "CHUNK_ROWS", rows)
    monkeypatch.setattr(failed_rows, "CHUNK_BYTES", size)
    text = "".join(f"{number},Ada,2021-11-07T00:00:00Z,7,1\n" for number in range(1, 12))
    job_id = await hire(ingestor, text)
    loads = await replay(ingestor, job_id)
    assert len(loads) > 3
    assert all(one.end == other.start for one, other in itertools.pairwise(loads))
    raw = text.encode().split(b"\n")
    for load in loads:
        here = await lines(ingestor, [load])
        assert here[0] == load.line
        assert len(here) <= rows
        assert load.end - load.start == sum(len(raw[line - 1]) for line in here)
        assert load.end - load.start < size + len(raw[9]) + 1
    assert await lines(ingestor, loads) == list(range(1, 12))
    await ingestor.bring("departments", "7,Seventh\n")
    assert total(await ingestor.load_all(loads)) == Outcome(rows_read=11, inserted=11)


async def test_a_second_delivery_of_the_same_command_changes_nothing(ingestor: Ingestor) -> None:
    job_id = await hire(ingestor)
    command = PlanReplay(dataset="hired_employees", job_id=uuid4(), replay_of=job_id, load_options=CHECKED)
    async with ingestor.transaction() as db:
        assert await inbox.claim(db, command.id, command.name())
        await plan_replay(command, db)
    before = await everything(ingestor)
    async with ingestor.transaction() as db:
        assert not await inbox.claim(db, command.id, command.name())
    # Even one that nobody holds back undoes itself.
    with pytest.raises(asyncpg.UniqueViolationError):
        async with ingestor.transaction() as db:
            await plan_replay(command, db)
    assert await everything(ingestor) == before
    await discard(ingestor, job_id, request_id=(request := uuid4()))
    before = await everything(ingestor)
    await discard(ingestor, job_id, request_id=request)
    assert await everything(ingestor) == before


async def everything(ingestor: Ingestor) -> list[Any]:
    tables = ("imports", "chunks", "failed_rows", "failures")
    return [await ingestor.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


async def test_discarded_rows_are_kept_and_not_taken_up(ingestor: Ingestor) -> None:
    job_id = await hire(ingestor)
    before = await ingestor.failed_rows(job_id)
    request = uuid4()
    await discard(ingestor, job_id, request_id=request, code="required", column="name")
    after = await ingestor.failed_rows(job_id)
    assert [row["raw"] for row in after] == [row["raw"] for row in before]
    assert {row["line"] for row in after if row["state"] == "discarded"} == {5}
    assert {row["line"] for row in after if row["resolved_by"] == request} == {5}
    assert sorted(await lines(ingestor, await replay(ingestor, job_id))) == [1, 3]
    # What was taken up already is not given up.
    await discard(ingestor, job_id)
    assert await states(ingestor, job_id) == {1: "replayed", 3: "replayed", 5: "discarded", 6: "discarded"}


async def test_rows_of_a_batch_are_read_again_with_fields_that_were_declared_meanwhile(ingestor: Ingestor) -> None:
    rows = (
        {"id": 1, "name": "Chair", "price": 5, "colour": "red"},
        {"id": 2, "name": "Table", "price": -5},
        {"id": 3, "name": "Lamp", "price": 5},
    )
    raw = tuple(msgspec.Raw(msgspec.json.encode(row)) for row in rows)
    columns = ("id", "name", "price")
    command = LoadRows(dataset="items", job_id=uuid4(), rows=raw, columns=columns, load_options=LoadOptions())
    async with ingestor.transaction() as db:
        (loaded,) = await load_rows([command], db)
    assert isinstance(loaded, ChunkLoaded)
    assert codes(await ingestor.failed_rows(command.job_id)) == {1: "unknown_field", 2: "minimum"}
    async with ingestor.transaction() as db:
        declared = await db.fetchval("SELECT declaration FROM datasets WHERE name = 'items'")
        declared["fields"].append({"name": "colour", "type": "string"})
        next(field for field in declared["fields"] if field["name"] == "price").pop("minimum")
        await db.execute("UPDATE datasets SET declaration = $1 WHERE name = 'items'", declared)
        await db.execute("ALTER TABLE data.items ADD COLUMN colour text")
    loads = await replay(ingestor, command.job_id, dataset="items", load_options=LoadOptions())
    assert total(await ingestor.load_all(loads)) == Outcome(rows_read=2, inserted=2)
    assert {row["id"]: (row["price"], row["colour"]) for row in await ingestor.rows("items")} == {
        1: (5, "red"),
        2: (-5, None),
        3: (5, None),
    }


async def test_json_over_several_lines_is_one_row_again(ingestor: Ingestor) -> None:
    (chunk,) = await ingestor.plan("items", "1,Chair,,-5,,,,\n2,Table,,-5,,,,\n")
    await ingestor.load(chunk)
    await ingestor.pool.execute('UPDATE imports SET dialect = dialect || \'{"format": "json"}\'')
    raw = '{\r\n "id": 7,\n "name": "Chair\\n", "price": -5\n}'
    await ingestor.pool.execute("UPDATE failed_rows SET raw = $1", raw)
    loads = await replay(ingestor, chunk.job_id, dataset="items", load_options=LoadOptions())
    assert total(await ingestor.load_all(loads)) == Outcome(rows_read=2, failed=2)
    again = await ingestor.failed_rows(loads[0].job_id)
    assert codes(again) == {1: "minimum", 2: "minimum"}
    assert {msgspec.json.decode(row["raw"])["name"] for row in again} == {"Chair\n"}


async def test_without_a_row_that_fits_the_job_has_nothing_to_do(ingestor: Ingestor) -> None:
    job_id = await hire(ingestor)
    assert await replay(ingestor, job_id, code="enum") == []
    with pytest.raises(LookupError):
        await replay(ingestor, uuid4())
