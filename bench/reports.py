"""How long the hiring reports take, asked for fifty times a second, beside their SQL over the table and over a view."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import httpx2
import msgspec

from bench import hired, jobs, view
from bench.arrivals import Wait, ask_all, moments
from bench.connections import Connections
from bench.report import Row, at_most
from bench.stack import Stack
from bench.timing import p95, spread
from shared.db import Pool

REPORTS = ("hires_by_quarter", "departments_above_average")
RATE, SECONDS = 50, 20
LIMIT = 10
OURS, TABLE, VIEW = "Millrace", "the table itself", "materialized view"
REFRESHED = f"{VIEW}, refreshed over and over"
CONNECTIONS = 10
"""Of the peers; more would not make two cores faster."""
BATCH_ROWS, BATCH_SECONDS = 100, 1.0
SHOWN_SECONDS = 30


class Question(NamedTuple):
    """A report of a year."""

    report: str
    year: int


Ask = Callable[[Question], Awaitable[Any]]
Found = dict[str, list[Wait]]
ALL = [Question(report, year) for report in REPORTS for year in hired.YEARS]


def measure(stack: Stack) -> list[Row]:
    """While nothing else happens, and while rows come in, so that no answer is right for long."""
    with jobs.client(stack) as http:
        hired.stock(stack, http, hired.ROWS)
    view.create(stack)
    idle, busy = asyncio.run(_measure(stack))
    view.drop(stack)
    first = f"reports, {hired.ROWS:,} hires, idle"
    # What is promised is promised of a system that has time for it; beside it, what becomes of that when there is less.
    return [*_rows(first, idle, VIEW, LIMIT), *_rows("reports, rows coming in", busy, REFRESHED, None)]


def questions() -> list[Question]:
    """The reports by turns, of any of the years."""
    chance = random.Random(1)
    return [Question(REPORTS[number % 2], chance.choice(hired.YEARS)) for number in range(RATE * SECONDS)]


async def _measure(stack: Stack) -> tuple[Found, Found]:
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with (
        aclosing(Connections(stack)) as connections,
        httpx2.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as http,
        asyncpg.create_pool(stack.env["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS) as pool,
    ):
        get: Ask = partial(_get, connections)
        table: Ask = partial(_fetch, pool, {report: view.over_table(report) for report in REPORTS})
        kept: Ask = partial(_fetch, pool, {report: view.over_view(report) for report in REPORTS})
        now = await _answers(table)
        await _until_shown(get, now)
        await _until_shown(kept, now)
        idle = {name: await _ask_all(ask) for name, ask in {OURS: get, VIEW: kept, TABLE: table}.items()}
        async with _over_and_over(partial(_send, http, hired.count(stack)), BATCH_SECONDS):
            busy = {OURS: await _ask_all(get)}
            async with _over_and_over(lambda _: pool.execute(view.REFRESH), 0):
                busy[REFRESHED] = await _ask_all(kept)
        await _until_shown(get, await _answers(table))
    return idle, busy


async def _ask_all(ask: Ask) -> list[Wait]:
    return await ask_all(ask, questions(), moments(RATE * SECONDS, RATE))


async def _get(connections: Connections, question: Question) -> bytes:
    return await connections.get(f"/v1/reports/{question.report}?year={question.year}")


async def _fetch(pool: Pool, sql: dict[str, str], question: Question) -> list[asyncpg.Record]:
    return await pool.fetch(sql[question.report], question.year)


async def _send(http: httpx2.AsyncClient, there: int, number: int) -> None:
    body = hired.batch(there + number * BATCH_ROWS + 1, BATCH_ROWS)
    answer = await http.post(f"/v1/datasets/{hired.DATASET}/rows", json=body)
    assert answer.status_code == 202, answer.text


@asynccontextmanager
async def _over_and_over(do: Callable[[int], Awaitable[Any]], every: float) -> AsyncIterator[None]:
    """Beside what is measured, for the first, second, third … time, so many seconds after the last was done."""

    async def go_on() -> None:
        for number in itertools.count():
            await do(number)
            await asyncio.sleep(every)

    task = asyncio.create_task(go_on())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _answers(ask: Ask) -> dict[Question, list[list[str]]]:
    """All there are. A sum is a number of another kind in JSON than in Postgres."""
    found = {}
    for question in ALL:
        answer = await ask(question)
        rows = msgspec.json.decode(answer)["data"] if isinstance(answer, bytes) else answer
        found[question] = [[str(value) for value in row.values()] for row in rows]
    return found


async def _until_shown(ask: Ask, expected: dict[Question, list[list[str]]]) -> None:
    """Fast and wrong is no merit."""
    deadline = time.monotonic() + SHOWN_SECONDS
    while (found := await _answers(ask)) != expected:
        assert time.monotonic() < deadline, [question for question in ALL if found[question] != expected[question]]


def _rows(what: str, found: Found, beside: str, limit: int | None) -> list[Row]:
    """Each report by itself: one is much larger than the other."""
    rows = []
    for report in REPORTS:
        waits = {name: _of(report, each) for name, each in found.items()}
        peer = p95(wait.milliseconds for wait in waits[beside])
        for name, each in waits.items():
            times = [wait.milliseconds for wait in each]
            answered = sum(wait.answered for wait in each)
            fewer = "" if answered == len(each) else f" ({answered} of {len(each)} answered)"
            target = at_most(p95(times), limit, " ms") if name == OURS and limit else ""
            rows.append(Row(f"{what}, {report}: {name}{fewer}", spread([times]), p95(times) / peer, target))
    return rows


def _of(report: str, waits: list[Wait]) -> list[Wait]:
    return [wait for question, wait in zip(questions(), waits, strict=True) if question.report == report]
