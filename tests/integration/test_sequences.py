"""Jobs of every mode one after the other, compared with a dictionary: tables, counts, rollups and documents."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.commands import LoadChunk, LoadRows, SwapStage
from shared.contracts.events import ChunkLoaded
from shared.contracts.parts import LoadOptions, Mode, Outcome
from tests.integration.ingestor_runner import DATASETS, Ingestor, JobEnd, LoadCommand, total
from tests.integration.job_stories import EXAMPLES, LINES, line_of_items, until_done
from tests.integration.pruning import prune
from tests.integration.reader_runners import Analytics, Indexer

Row = dict[str, str]
Key = tuple[str, ...]
Table = dict[Key, Row]

BAD = "not a row\n"
FEW = ("id", "name", "price")
"""Columns of items that a file may come with alone."""


class Job(msgspec.Struct, frozen=True):
    """Lines as they would stand in a file with all columns."""

    kind: Literal["file", "few", "batch"]
    lines: list[str]
    load_options: LoadOptions
    chunk_bytes: int


class JobRows(msgspec.Struct, frozen=True):
    """What a job brings in each of its chunks: rows, or None for one that can't be read."""

    columns: tuple[str, ...]
    pieces: dict[int, list[Row | None]]


def stories(dataset: str) -> st.SearchStrategy[list[Job]]:
    """Jobs that are made of a few lines, so that the same rows come again and again, and then others."""
    some = st.lists(LINES[dataset], min_size=3, max_size=6)
    return some.flatmap(lambda lines: st.lists(jobs(dataset, [*lines * 4, BAD]), min_size=1, max_size=4))


def jobs(dataset: str, known: list[str]) -> st.SearchStrategy[Job]:
    lines = st.one_of(*(st.lists(st.sampled_from(known), min_size=least, max_size=25) for least in (0, 12, 18)))
    load_options = st.builds(
        LoadOptions,
        mode=st.sampled_from(["upsert", "upsert", "insert", "replace"]),
        validate_only=st.sampled_from([False] * 7 + [True]),
        max_errors=st.sampled_from([None, None, None, 0, 2]),
        max_shrink=st.sampled_from([1.0, 1.0, 0.5]),
    )
    kinds = ["file", "file", "few", "batch"] if dataset == "items" else ["file", "file", "batch"]
    return st.builds(Job, st.sampled_from(kinds), lines, load_options, st.sampled_from([30, 30, 90, 10_000]))


def to_row(dataset: str, line: str) -> Row | None:
    """The cells by their columns, in the one way in which they come back."""
    if line == BAD:
        return None
    names = [field.name for field in DATASETS[dataset].input_fields]
    row = dict(zip(names, line.rstrip("\n").split(","), strict=True))
    if row.get("price"):
        row["price"] = f"{Decimal(row['price']):.2f}"
    if row.get("account_balance"):
        row["account_balance"] = f"{Decimal(row['account_balance']):.2f}"
    return row


async def stands(ingestor: Ingestor, dataset: str) -> Table:
    """The table, written as the lines are."""
    names = [field.name for field in DATASETS[dataset].input_fields]
    found = [{name: _cell(row[name]) for name in names} for row in await ingestor.rows(dataset)]
    return {_key(dataset, row): row for row in found}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if hasattr(value, "tzinfo") else str(value)


def _key(dataset: str, row: Row) -> Key:
    return tuple(row[name] for name in DATASETS[dataset].primary_key)


async def ask(ingestor: Ingestor, dataset: str, job: Job) -> tuple[list[LoadCommand], JobRows]:
    names = tuple(field.name for field in DATASETS[dataset].input_fields)
    if job.kind == "batch":
        return _batch(dataset, job)
    columns = names if job.kind == "file" else FEW
    lines = job.lines if job.kind == "file" else [_few(line) for line in job.lines]
    text = "".join(lines)
    commands = await ingestor.begin(dataset, text, job.load_options, columns=columns, chunk_bytes=job.chunk_bytes)
    # Where each chunk begins among the lines, which have no line breaks in them.
    pieces = {
        load.chunk: [
            to_row(dataset, line)
            for line in job.lines[load.line - 1 :][: text.encode()[load.start : load.end].count(b"\n")]
        ]
        for load in commands
        if isinstance(load, LoadChunk)
    }
    return [*commands], JobRows(columns, pieces)


def _few(line: str) -> str:
    if line == BAD:
        return line
    cells = line.split(",")
    return f"{cells[0]},{cells[1]},{cells[3]}\n"


def _batch(dataset: str, job: Job) -> tuple[list[LoadCommand], JobRows]:
    """Objects that don't name what they have no value for."""
    rows = [to_row(dataset, line) for line in job.lines] or [None]
    objects = [{name: cell for name, cell in row.items() if cell} if row else {"id": "nonsense"} for row in rows]
    fields = DATASETS[dataset].input_fields
    columns = tuple(f.name for f in fields if f.required or any(f.name in row for row in objects))
    command = LoadRows(
        dataset=dataset,
        job_id=uuid4(),
        rows=tuple(msgspec.Raw(msgspec.json.encode(row)) for row in objects),
        columns=columns,
        # What the route makes of it, but for the budget and the modes that only files have.
        load_options=msgspec.structs.replace(
            job.load_options, mode="upsert" if job.load_options.mode == "replace" else job.load_options.mode
        ),
    )
    return [command], JobRows(columns, {1: [*rows]})


def last(dataset: str, rows: Iterable[Row | None]) -> Table:
    """Of two rows with one key, the later one."""
    return {_key(dataset, row): row for row in rows if row is not None}


def hold_against(dataset: str, load_options: LoadOptions, before: Table, sent: JobRows, ended: JobEnd) -> Table:
    """What the table must be after the job, whose counts are looked at."""
    loaded = [sent.pieces[event.chunk] for event in ended.loaded if event.chunk in sent.pieces]
    if ended.stopped is None:
        assert len(loaded) == len(sent.pieces)
    rows = [row for piece in loaded for row in piece]
    # In the order of the input, whatever the order in which the chunks came.
    ordered = [row for chunk in sorted(event.chunk for event in ended.loaded) for row in sent.pieces.get(chunk, [])]
    unread = rows.count(None)
    read, good = len(rows), len(rows) - unread
    new = last(dataset, ordered)
    chunked = [(key, row) for piece in loaded for key, row in last(dataset, piece).items()]
    after = {**before}
    outcome = ended.outcome
    assert outcome.balanced()
    taken = (
        sum(key in before for key, _ in chunked)
        if load_options.mode == "insert" and not load_options.validate_only
        else 0
    )
    assert (outcome.rows_read, outcome.failed) == (read, unread + taken)
    stops_at = load_options.max_errors
    everything = [row for piece in sent.pieces.values() for row in piece]
    if stops_at is not None and not taken:
        assert (ended.stopped is not None and ended.stopped.problem.code == "too_many_errors") == (
            everything.count(None) > stops_at
        )
    if load_options.validate_only or (load_options.mode == "replace" and ended.stopped):
        assert outcome == Outcome(rows_read=read, failed=unread, checked=good)
        if ended.stopped and ended.stopped.problem.code == "shrink_guard":
            assert len(before.keys() - new.keys()) > load_options.max_shrink * len(before)
        return after
    if load_options.mode == "insert":
        after |= {key: _filled(dataset, {}, row, sent.columns) for key, row in new.items() if key not in before}
        inserted = len(after) - len(before)
        assert outcome == Outcome(
            rows_read=read, inserted=inserted, failed=unread + taken, duplicates=good - inserted - taken
        )
        return after
    fresh = new.keys() - before.keys()
    met = new.keys() & before.keys()
    if load_options.mode == "replace":
        after = {key: _filled(dataset, before.get(key, {}), row, sent.columns) for key, row in new.items()}
        updated = sum(after[key] != before[key] for key in met)
        gone = len(before) - len(met)
        assert gone <= load_options.max_shrink * len(before)
        assert outcome == Outcome(
            rows_read=read,
            inserted=len(fresh),
            updated=updated,
            unchanged=len(met) - updated,
            duplicates=good - len(new),
            failed=unread,
            deleted=gone,
        )
        return after
    after |= {key: _filled(dataset, before.get(key, {}), row, sent.columns) for key, row in new.items()}
    changed = {
        key for key, row in chunked if key in met and _filled(dataset, before[key], row, sent.columns) != before[key]
    }
    assert (outcome.inserted, outcome.updated) == (len(fresh), len(changed))
    assert outcome.unchanged + outcome.duplicates == good - len(fresh) - len(changed)
    return after


def _filled(dataset: str, before: Row, row: Row, columns: tuple[str, ...]) -> Row:
    """A row that brings these columns, over what was there."""
    names = [field.name for field in DATASETS[dataset].input_fields]
    return {name: row[name] if name in columns else before.get(name, "") for name in names}


@pytest.mark.parametrize("dataset", LINES)
@EXAMPLES
@given(data=st.data())
async def test_any_sequence_of_jobs_does_what_a_dictionary_does(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, dataset: str, data: st.DataObject
) -> None:
    story = data.draw(stories(dataset))
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    await indexer.forget()
    await analytics.prepare(dataset)
    await indexer.prepare(dataset)
    table: Table = {}
    undelivered = []
    for job in story:
        commands, sent = await ask(ingestor, dataset, job)
        ended = await ingestor.follow(commands, chance)
        load_options = msgspec.structs.replace(job.load_options, mode=mode_of(job))
        table = hold_against(dataset, load_options, table, sent, ended)
        assert await stands(ingestor, dataset) == table
        undelivered += ended.loaded
    for hear in (analytics.hear, indexer.hear):
        deliveries = [*undelivered, *chance.sample(undelivered, len(undelivered) // 4)]
        chance.shuffle(deliveries)
        for event in deliveries:
            await hear(event)
            await prune(ingestor.pool)
    assert await ingestor.pool.fetchval("SELECT count(*) FROM replaced") == 0
    assert await analytics.rollup(dataset) == await analytics.recomputed(dataset)
    assert await indexer.documents(dataset) == await indexer.recomputed(dataset)


@pytest.mark.parametrize("seed", range(4))
async def test_jobs_of_every_mode_at_once_leave_books_sums_and_documents_in_order(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, seed: int
) -> None:
    chance = random.Random(seed)
    await indexer.prepare("items")
    done = asyncio.Event()

    async def prune_always() -> None:
        while not done.is_set():
            await prune(ingestor.pool)

    pruning = asyncio.create_task(prune_always())
    for _ in range(3):
        load_options = [
            LoadOptions(),
            LoadOptions(mode="insert"),
            LoadOptions(mode="replace", max_shrink=1),
            LoadOptions(mode="replace", max_shrink=1),
        ]
        jobs = [
            await ingestor.begin("items", "".join(line_of_items(chance) for _ in range(40)), one, chunk_bytes=200)
            for one in load_options
        ]
        outcomes = await asyncio.gather(*(at_once(ingestor, analytics, indexer, commands) for commands in jobs))
        assert all(outcome.balanced() for outcome in outcomes)
        assert sum(outcome.rows_read for outcome in outcomes) == 160
        assert await analytics.rollup("items") == await analytics.recomputed("items")
        assert await indexer.documents("items") == await indexer.recomputed("items")
    done.set()
    await pruning
    # What came and what went, of all jobs, is what is there.
    counts = await ingestor.pool.fetchrow("SELECT sum(inserted) - sum(deleted) AS rows FROM chunks")
    assert counts is not None
    assert counts["rows"] == len(await ingestor.rows("items"))


async def at_once(
    ingestor: Ingestor, analytics: Analytics, indexer: Indexer, commands: Sequence[LoadCommand]
) -> Outcome:
    """Every chunk of a job, what follows from it, and those who hear of it."""

    async def take(message: LoadCommand) -> list[ChunkLoaded]:
        results = await until_done(ingestor.hear, message)
        loaded = [event for event in results if isinstance(event, ChunkLoaded)]
        later = [take(command) for command in results if isinstance(command, SwapStage)]
        for event in loaded:
            await asyncio.gather(until_done(analytics.hear, event), until_done(indexer.hear, event))
        return [*loaded, *(event for more in await asyncio.gather(*later) for event in more)]

    return total([event for one in await asyncio.gather(*map(take, commands)) for event in one])


def mode_of(job: Job) -> Mode:
    return "upsert" if job.kind == "batch" and job.load_options.mode == "replace" else job.load_options.mode
