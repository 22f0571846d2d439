"""Groups of batches: every job ends as if they were loaded one after the other."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from services.ingestor.imports.load import load_rows
from services.ingestor.write import partitions
from shared.bus.failures import NotReady
from shared.contracts.commands import LoadRows
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import LoadOptions, Mode, Outcome, Problem
from tests.integration.ingestor_runner import DATASETS, Ingestor, LoadResult, forget

PLAIN: dict[str, Any] = {
    "title": "A key of three types, and nobody who searches or sums up",
    "primary_key": ["amount", "name", "day"],
    "fields": [
        {"name": "amount", "type": "decimal(8,2)", "required": True},
        {"name": "name", "type": "string", "required": True, "max_length": 20},
        {"name": "day", "type": "date", "required": True},
        {"name": "note", "type": "string", "default": "nothing"},
    ],
}
PLAIN_FIELDS = {"amount": True, "name": True, "day": True, "note": False}
"""And whether they are required."""
NAMES = ("departments", "hired_employees", "contacts", "items", "paragraphs", "plain")
GENERATED = ("id", "_row")
"""Columns of contacts and paragraphs that Postgres numbers."""
Row = dict[str, Any]


def batch(dataset: str, *rows: Any, load_options: LoadOptions | None = None) -> LoadRows:
    """As the gateway makes it of rows."""
    fields = (
        {field.name: field.required for field in DATASETS[dataset].input_fields} if dataset != "plain" else PLAIN_FIELDS
    )
    named = {name for row in rows if isinstance(row, dict) for name in row}
    return LoadRows(
        dataset=dataset,
        job_id=uuid4(),
        rows=tuple(msgspec.Raw(msgspec.json.encode(row)) for row in rows),
        columns=tuple(name for name, required in fields.items() if required or name in named),
        load_options=load_options or LoadOptions(),
    )


def some_row(chance: random.Random, dataset: str) -> Any:
    """A row of few keys and few values. One in ten can't be loaded."""
    if chance.random() < 0.1:
        return chance.choice([7, "text", [1], {"unknown": 1}, {}, {"id": "x", "name": None}])
    number, word = chance.randint(1, 12), chance.choice(["red", "green", "é\n\\u0041"])
    moment = f"{chance.choice([2020, 2021, 2022])}-03-0{chance.randint(1, 2)}T00:00:00Z"
    price = chance.choice([1, "1.00", 2.5, -1])
    rows = {
        "departments": {"id": number, "department": word},
        "hired_employees": {
            "id": number,
            "name": word,
            "hired_at": moment,
            "department_id": number % 4 + 1,
            "job_id": 1,
        },
        "contacts": {
            "email": f"{number}@example.org",
            **chance.choice([{}, {"first_name": word}, {"description": word}]),
        },
        "items": {"id": number, "name": word, "price": price, **chance.choice([{}, {}, {"category": word}])},
        "paragraphs": {"content": word, "created_at": moment},
        "plain": {"amount": price, "name": word, "day": moment[:10], "note": chance.choice(["x", "y"])},
    }
    return rows[dataset]


def some_options(chance: random.Random, dataset: str) -> LoadOptions:
    """Mostly those of the gateway."""
    modes: tuple[Mode, ...] = ("append",) if dataset == "paragraphs" else ("upsert", "upsert", "upsert", "insert")
    return LoadOptions(
        mode=chance.choice(modes),
        strict=chance.random() < 0.2,
        validate_only=chance.random() < 0.1,
        check_references=chance.random() < 0.05,
        max_errors=chance.choice([None] * 5 + [0, 1]),
        max_failed_rows=chance.choice([100_000] * 3 + [0, 1]),
    )


def some_batches(chance: random.Random, names: Sequence[str], number: int) -> list[LoadRows]:
    """The first of each dataset makes some keys exist."""
    batches = []
    for dataset in [*names, *(chance.choice(names) for _ in range(number))]:
        rows = [some_row(chance, dataset) for _ in range(chance.choice([1, 1, 2, 2, 3, 8]))]
        batches.append(batch(dataset, *rows, load_options=some_options(chance, dataset)))
    return batches


def some_groups(chance: random.Random, batches: Sequence[LoadRows]) -> Iterator[Sequence[LoadRows]]:
    first = 0
    while first < len(batches):
        size = chance.choice([1, 2, 5, 20, len(batches)])
        yield batches[first : first + size]
        first += size


class Books:
    """All that jobs leave, with jobs in place of ledger numbers and versions counted from the beginning."""

    def __init__(self, ingestor: Ingestor, admin: asyncpg.Connection) -> None:
        self._pool = ingestor.pool
        self._admin = admin
        self._versions: dict[str, int] = {}

    async def begin(self) -> None:
        """Forgets everything but the declarations."""
        await forget(self._admin)
        rows = await self._pool.fetch("SELECT name, version FROM datasets")
        self._versions = {row["name"]: row["version"] for row in rows}

    async def read(self, results: Sequence[LoadResult]) -> dict[str, Any]:
        """Everything that must be equal."""
        lines = await self._pool.fetch("SELECT * FROM chunks ORDER BY ledger")
        jobs = {line["ledger"]: line["job_id"] for line in lines}
        books: dict[str, Any] = {
            "events": [self._event(event, jobs) for event in results],
            "lines": [self._line(line) for line in lines],
            "imports": await self._fetch("imports", "job_id", without=("planned_at",)),
            "failures": await self._fetch("failures", 'job_id, code, "column"', without=("created_at",)),
            "failed rows": await self._fetch("failed_rows", "job_id, id", without=("id", "created_at")),
            "images": sorted(
                (
                    str(jobs[row["ledger"]]),
                    str(jobs[row["was"]]),
                    row["dataset"],
                    self._row(row["dataset"], row["row"], jobs),
                )
                for row in await self._pool.fetch("SELECT * FROM replaced")
            ),
        }
        for dataset in NAMES:
            rows = await self._pool.fetch(f'SELECT * FROM data."{dataset}"')
            books[dataset] = sorted(self._row(dataset, row, jobs) for row in rows)
        return books

    def _event(self, event: LoadResult, jobs: dict[int, UUID]) -> LoadResult:
        if isinstance(event, ChunkLoaded):
            assert jobs[event.ledger] == event.job_id
            return msgspec.structs.replace(event, ledger=0, version=event.version - self._versions[event.dataset])
        return event

    def _line(self, line: asyncpg.Record) -> Row:
        assert (line["version"] is None) == (line["loaded_at"] is None)
        version = line["version"] and line["version"] - self._versions[line["dataset"]]
        return {**line, "ledger": None, "version": version, "sent_at": None, "loaded_at": None}

    async def _fetch(self, table: str, order: str, *, without: Sequence[str]) -> list[Row]:
        rows = await self._pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")
        return [{name: value for name, value in row.items() if name not in without} for row in rows]

    def _row(self, dataset: str, row: Any, jobs: dict[int, UUID]) -> str:
        generated = GENERATED if dataset in ("contacts", "paragraphs") else ()
        values = {name: value for name, value in row.items() if name not in generated}
        return repr({**values, "_chunk": jobs[row["_chunk"]]})


@pytest.fixture
async def books(ingestor: Ingestor, database: dict[str, str]) -> Any:
    await ingestor.declare("plain", PLAIN)
    admin = await asyncpg.connect(database["admin"])
    yield Books(ingestor, admin)
    await admin.close()


@pytest.mark.parametrize("seed", range(8))
async def test_a_group_is_loaded_like_its_batches_one_by_one(ingestor: Ingestor, books: Books, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(5):
        batches = some_batches(chance, NAMES if seed % 2 else [chance.choice(NAMES)], chance.randint(1, 60))
        await books.begin()
        one_by_one = [event for command in batches for event in await ingestor.hear(command)]
        expected = await books.read(one_by_one)
        await books.begin()
        together = [event for group in some_groups(chance, batches) for event in await ingestor.hear_together(group)]
        found = await books.read(together)
        for kind, content in expected.items():
            assert found[kind] == content, kind
        assert len(expected["lines"]) == len(batches)
        assert all(event.outcome.balanced() for event in together if isinstance(event, ChunkLoaded))


async def test_of_two_jobs_with_one_key_the_later_one_updates_the_row_of_the_earlier_one(ingestor: Ingestor) -> None:
    commands = [batch("departments", {"id": 1, "department": name}) for name in ("old", "new", "new")]
    first, second, third = await ingestor.hear_together(commands)
    assert isinstance(first, ChunkLoaded)
    assert isinstance(second, ChunkLoaded)
    assert isinstance(third, ChunkLoaded)
    assert [event.outcome for event in (first, second, third)] == [
        Outcome(rows_read=1, inserted=1),
        Outcome(rows_read=1, updated=1),
        Outcome(rows_read=1, unchanged=1),
    ]
    assert [event.version - first.version for event in (first, second, third)] == [0, 1, 2]
    (image,) = await ingestor.pool.fetch("SELECT was, ledger, row FROM replaced")
    assert (image["was"], image["ledger"]) == (first.ledger, second.ledger)
    assert image["row"] == {"id": 1, "department": "old", "_chunk": first.ledger}


async def test_a_strict_job_is_refused_alone(ingestor: Ingestor) -> None:
    good, bad = {"id": 1, "department": "good"}, {"id": "x", "department": "bad"}
    strict = batch("departments", {"id": 2, "department": "lost"}, bad, load_options=LoadOptions(strict=True))
    results = await ingestor.hear_together([batch("departments", bad, good), strict, batch("departments", bad)])
    assert [(type(event), event.job_id == strict.job_id) for event in results] == [
        (ChunkLoaded, False),
        (ChunkLoaded, True),
        (ImportStopped, True),
        (ChunkLoaded, False),
    ]
    assert [row["id"] for row in await ingestor.rows("departments")] == [1]
    assert [row["line"] for row in await ingestor.failed_rows(strict.job_id)] == [2]


async def test_a_stopped_job_is_left_out_and_the_others_are_loaded(ingestor: Ingestor) -> None:
    commands = [batch("departments", {"id": number, "department": "x"}) for number in (1, 2, 3)]
    await ingestor.pool.execute(
        "INSERT INTO imports (job_id, dataset, dialect, chunks, stopped) VALUES ($1, 'departments', '{}', 1, $2)",
        commands[1].job_id,
        msgspec.to_builtins(Problem(code="stopped", detail="Enough.")),
    )
    results = await ingestor.hear_together(commands)
    assert [event.job_id for event in results] == [commands[0].job_id, commands[2].job_id]
    assert [row["id"] for row in await ingestor.rows("departments")] == [1, 3]
    assert await ingestor.hear_together([batch("jobs", {"id": 1, "job": "x"})])


async def test_a_group_with_a_row_of_a_year_that_is_being_detached_is_not_ready(ingestor: Ingestor) -> None:
    hired = {"id": 1, "name": "ada", "department_id": 1, "job_id": 1}
    commands = [batch("hired_employees", {**hired, "hired_at": f"{year}-01-01T00:00:00Z"}) for year in (2020, 2021)]
    async with ingestor.transaction() as db:
        await partitions.lock_year(db, DATASETS["hired_employees"], 2021)
        with pytest.raises(NotReady):
            await ingestor.hear_together(commands)
        assert await ingestor.pool.fetchval("SELECT count(*) FROM chunks") == 0
        assert await ingestor.hear_together(commands[:1])
    assert await ingestor.hear_together(commands[1:])


async def test_groups_that_change_the_same_rows_do_not_wait_in_a_circle(ingestor: Ingestor) -> None:
    chance = random.Random(1)

    def departments() -> list[LoadRows]:
        keys = [chance.sample(range(1, 9), 2) for _ in range(8)]
        return [batch("departments", *({"id": key, "department": str(uuid4())} for key in pair)) for pair in keys]

    await ingestor.hear(batch("departments", *({"id": key, "department": "x"} for key in range(1, 9))))
    for _ in range(10):  # a deadlock is an error
        await asyncio.gather(*(ingestor.hear_together(departments()) for _ in range(4)))
    assert len(await ingestor.rows("departments")) == 8


async def test_the_statements_of_a_group_do_not_grow_with_it(ingestor: Ingestor) -> None:
    async with ingestor.pool.acquire() as db:

        async def count(first: int, size: int, name: str) -> int:
            statements: list[Any] = []
            commands = [batch("departments", {"id": first + n, "department": name}) for n in range(size)]
            with db.query_logger(statements.append):
                async with db.transaction():
                    await load_rows(commands, db)
            return len(statements)

        await count(1, 1, "asyncpg looks up types once for each connection")
        few, many = [[await count(size * 1000 + more, size, name) for more, name in STEPS] for size in (2, 100)]
        assert few == many


STEPS = ((0, "new"), (0, "changed"), (0, "changed"), (1, "shifted by one, so that one key is new"))
