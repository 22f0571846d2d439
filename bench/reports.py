"""Response times of reports at fifty requests a second, compared with SQL over the table and a materialized view."""

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

from bench import catalog_hires, jobs, materialized_view
from bench.connections import Connections
from bench.open_loop import Latency, due_times, send_all
from bench.results import Row, at_most
from bench.stack import Stack
from bench.timing import p95, spread
from shared.db import Pool

REPORTS = ("hires_by_quarter", "departments_above_average")
RATE, SECONDS = 50, 20
LIMIT = 10
MILLRACE, TABLE, VIEW = "Millrace", "the table itself", "materialized view"
REFRESHED = f"{VIEW}, refreshed over and over"
CONNECTIONS = 10
"""Connections of the peers; more are not faster on two cores."""
BATCH_ROWS, BATCH_SECONDS = 100, 1.0
EQUAL_SECONDS = 30


class ReportQuery(NamedTuple):
    """A report for a year."""

    report: str
    year: int


Send = Callable[[ReportQuery], Awaitable[Any]]
Latencies = dict[str, list[Latency]]
ALL = [ReportQuery(report, year) for report in REPORTS for year in catalog_hires.YEARS]


def measure(stack: Stack) -> list[Row]:
    """Measures an idle system, and one with rows coming in, which invalidate cached results."""
    with jobs.client(stack) as http:
        catalog_hires.ensure_rows(stack, http, catalog_hires.ROWS)
    materialized_view.create(stack)
    idle, busy = asyncio.run(_measure(stack))
    materialized_view.drop(stack)
    first = f"reports, {catalog_hires.ROWS:,} hires, idle"
    return [*_rows(first, idle, VIEW), *_rows("reports, rows coming in", busy, REFRESHED)]


def build_queries() -> list[ReportQuery]:
    """Returns both reports alternating, each for a random year."""
    rng = random.Random(1)
    return [ReportQuery(REPORTS[number % 2], rng.choice(catalog_hires.YEARS)) for number in range(RATE * SECONDS)]


async def _measure(stack: Stack) -> tuple[Latencies, Latencies]:
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with (
        aclosing(Connections(stack)) as connections,
        httpx2.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as http,
        asyncpg.create_pool(stack.env["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS) as pool,
    ):
        get: Send = partial(_get, connections)
        table: Send = partial(_fetch, pool, {report: materialized_view.over_table(report) for report in REPORTS})
        view: Send = partial(_fetch, pool, {report: materialized_view.over_view(report) for report in REPORTS})
        expected = await _results(table)
        await _until_equal(get, expected)
        await _until_equal(view, expected)
        idle = {name: await _send_all(send) for name, send in {MILLRACE: get, VIEW: view, TABLE: table}.items()}
        async with _repeatedly(partial(_send_batch, http, catalog_hires.count(stack)), BATCH_SECONDS):
            busy = {MILLRACE: await _send_all(get)}
            async with _repeatedly(lambda _: pool.execute(materialized_view.REFRESH), 0):
                busy[REFRESHED] = await _send_all(view)
        await _until_equal(get, await _results(table))
    return idle, busy


async def _send_all(send: Send) -> list[Latency]:
    return await send_all(send, build_queries(), due_times(RATE * SECONDS, RATE))


async def _get(connections: Connections, query: ReportQuery) -> bytes:
    return await connections.get(f"/v1/reports/{query.report}?year={query.year}")


async def _fetch(pool: Pool, sql: dict[str, str], query: ReportQuery) -> list[asyncpg.Record]:
    return await pool.fetch(sql[query.report], query.year)


async def _send_batch(http: httpx2.AsyncClient, existing: int, number: int) -> None:
    body = catalog_hires.batch(existing + number * BATCH_ROWS + 1, BATCH_ROWS)
    response = await http.post(f"/v1/datasets/{catalog_hires.DATASET}/rows", json=body)
    assert response.status_code == 202, response.text


@asynccontextmanager
async def _repeatedly(do: Callable[[int], Awaitable[Any]], pause: float) -> AsyncIterator[None]:
    """Calls `do` with 0, 1, 2 … in the background, with a pause in seconds after each call."""

    async def repeat() -> None:
        for number in itertools.count():
            await do(number)
            await asyncio.sleep(pause)

    task = asyncio.create_task(repeat())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _results(send: Send) -> dict[ReportQuery, list[list[str]]]:
    """Returns the rows of all queries as text, because JSON and Postgres have different numeric types."""
    results = {}
    for query in ALL:
        response = await send(query)
        rows = msgspec.json.decode(response)["data"] if isinstance(response, bytes) else response
        results[query] = [[str(value) for value in row.values()] for row in rows]
    return results


async def _until_equal(send: Send, expected: dict[ReportQuery, list[list[str]]]) -> None:
    """Waits until the results are equal to the expected ones. Raises AssertionError with the queries that differ."""
    deadline = time.monotonic() + EQUAL_SECONDS
    while (results := await _results(send)) != expected:
        assert time.monotonic() < deadline, [query for query in ALL if results[query] != expected[query]]


def _rows(label: str, latencies: Latencies, peer: str) -> list[Row]:
    """Returns the rows of each report separately, because one is much larger than the other."""
    rows = []
    for report in REPORTS:
        by_name = {name: _of_report(report, each) for name, each in latencies.items()}
        peer_p95 = p95(latency.milliseconds for latency in by_name[peer])
        for name, each in by_name.items():
            times = [latency.milliseconds for latency in each]
            answered = sum(latency.answered for latency in each)
            fewer = "" if answered == len(each) else f" ({answered} of {len(each)} answered)"
            target = at_most(p95(times), LIMIT, " ms") if name == MILLRACE else ""
            rows.append(Row(f"{label}, {report}: {name}{fewer}", spread([times]), p95(times) / peer_p95, target))
    return rows


def _of_report(report: str, latencies: list[Latency]) -> list[Latency]:
    return [latency for query, latency in zip(build_queries(), latencies, strict=True) if query.report == report]
