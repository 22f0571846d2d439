"""A million old jobs with their events and chunks, compared with a thousand; then retention deletes them."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

import httpx2

from bench import jobs, psql
from bench.results import Row, at_most
from bench.stack import Stack
from services.analytics.retention import RETENTIONS as ANALYTICS
from services.analytics.settings import AnalyticsSettings
from services.gateway import app  # noqa: F401 - its features register the kinds of job
from services.gateway.jobs import gauges
from services.gateway.jobs.spool_cleaner import select_needed_files
from services.gateway.retention import RETENTIONS as GATEWAY
from services.gateway.settings import GatewaySettings
from services.indexer.retention import RETENTIONS as INDEXER
from services.indexer.settings import IndexerSettings
from services.ingestor.retention import RETENTIONS as INGESTOR
from services.ingestor.settings import IngestorSettings
from shared.db import Pool, connect
from shared.retention import Retention, RetentionTask
from shared.settings import ServiceSettings

FEW, MANY = 1_000, 1_000_000
DAYS = 30
"""The age of the jobs: less than their life, until it is shortened to KEEP_DAYS."""
KEEP_DAYS = 20
RUNS = 200
CONSUMERS = ("ingestor", "indexer", "analytics")
LIMIT = 1.5
PASS_LIMIT = 100
"""Milliseconds of a pass, once a minute: it looks at no more than 20,000 rows of a table."""
MOST_MINUTES = 30
DATASET = "bench_old_jobs"
RETENTION_OF = "pass of retention, {}"
TABLES = ("gateway.jobs", "gateway.events", "gateway.chunks", "ingestor.chunks", "ingestor.imports", "indexer.chunks")
SERVICES: dict[str, tuple[tuple[Retention, ...], type[ServiceSettings]]] = {
    "gateway": (GATEWAY, GatewaySettings),
    "ingestor": (INGESTOR, IngestorSettings),
    "indexer": (INDEXER, IndexerSettings),
    "analytics": (ANALYTICS, AnalyticsSettings),
}
RETENTIONS = {RETENTION_OF.format(service) for service in SERVICES}
OLD = f"now() - interval '{DAYS} days'"
# The ids sort by time, as those of the gateway do. Failed jobs keep their chunks.
FILL = f"""
CREATE TEMP TABLE old AS SELECT n, (lpad(to_hex((extract(epoch FROM {OLD}) * 1000)::bigint + n), 12, '0') || '70008'
    || substr(md5(n::text), 1, 15))::uuid AS id FROM generate_series({{first}}, {{last}}) AS n;
INSERT INTO gateway.jobs (id, kind, dataset, status, phase, command, fingerprint, bytes_total, chunks, outcome,
                          sequence, created_at, started_at, finished_at, updated_at, deadline_at)
SELECT id, 'import', '{DATASET}', 'failed', 'done', json_build_object('file', id), '', 100, 1, '{{{{}}}}', 3,
       {OLD}, {OLD}, {OLD}, {OLD}, {OLD} FROM old;
INSERT INTO gateway.chunks (job_id, chunk, loaded, indexed, counted) SELECT id, 1, true, true, true FROM old;
WITH last AS (
    UPDATE gateway.counters SET value = value + (SELECT 3 * count(*) FROM old) WHERE name = 'events' RETURNING value
)
INSERT INTO gateway.events (id, type, dataset, job_id, sequence, time, data)
SELECT value - row_number() OVER () + 1, 'job.progress', '{DATASET}', old.id, s, {OLD}, '{{{{"status": "running"}}}}'
FROM old, generate_series(1, 3) AS s, last;
INSERT INTO ingestor.imports (job_id, dataset, file, dialect, chunks, planned_at)
SELECT id, '{DATASET}', id, '{{{{}}}}', 1, {OLD} FROM old;
INSERT INTO ingestor.chunks (job_id, chunk, dataset, message_id, start_byte, end_byte, line, overlong, sent_at,
                             loaded_at, version, rows_read, unchanged)
SELECT id, 1, '{DATASET}', id, 0, 100, 1, false, {OLD}, {OLD}, 0, 1, 1 FROM old;
INSERT INTO indexer.chunks SELECT c.ledger, 0, {OLD} FROM ingestor.chunks c JOIN old ON old.id = c.job_id;
INSERT INTO analytics.chunks SELECT c.ledger, 0, {OLD} FROM ingestor.chunks c JOIN old ON old.id = c.job_id;
"""
PAGES: dict[str, dict[str, str]] = {
    "job list": {},
    "job list of a dataset": {"dataset": DATASET},
    "job list by a rare status": {"status": "queued"},
    "job list by a frequent status and another dataset": {"dataset": "departments", "status": "failed"},
}


def measure(stack: Stack) -> list[Row]:
    """Measures with few old jobs, then with many; then shortens their life and waits until they are gone."""
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
        stack.down(*CONSUMERS)  # the work of earlier submits would slow the next ones by chance
        load = [f"load average {os.getloadavg()[0]:.1f}"]
        _fill(stack, 1, FEW)
        few = _measure_all(stack, http)
        _fill(stack, FEW + 1, MANY)
        load.append(f"{os.getloadavg()[0]:.1f}")
        many = _measure_all(stack, http)
        load.append(f"{os.getloadavg()[0]:.1f}")
    stack.up(*CONSUMERS)
    rows = []
    for name in few:
        ratio = many[name] / few[name]
        target = at_most(many[name], PASS_LIMIT, " ms") if name in RETENTIONS else at_most(ratio, LIMIT)
        rows += [
            Row(f"old jobs, {FEW:,}: {name}", f"{few[name]:.1f} ms", 1.0),
            Row(f"old jobs, {MANY:,}: {name}", f"{many[name]:.1f} ms", ratio, target),
        ]
    before, began = _sizes(stack), time.perf_counter()
    asyncio.run(_delete_all(stack))
    rows.append(Row(f"old jobs, {MANY:,}: retention deletes them", f"{time.perf_counter() - began:.0f} s"))
    psql.run(stack, *(f"VACUUM FULL {table}" for table in TABLES))
    after = _sizes(stack)
    rows += [Row(f"old jobs: {table}, before and after", f"{before[table]} and {after[table]}") for table in TABLES]
    return [*rows, Row(", ".join(load), "")]


def _fill(stack: Stack, first: int, last: int) -> None:
    psql.run(stack, FILL.format(first=first, last=last))
    psql.run(stack, *(f"VACUUM ANALYZE {table}" for table in (*TABLES, "analytics.chunks")), "CHECKPOINT")


def _measure_all(stack: Stack, http: httpx2.Client) -> dict[str, float]:
    """Returns milliseconds: medians of requests, and of passes of all periodic work that has nothing to do."""
    measured = {"submit": _time(lambda: http.post(f"/v1/datasets/{DATASET}/rows", json={"rows": [_row()]}))}
    for name, parameters in PAGES.items():
        measured[name] = _time(partial(http.get, "/v1/jobs", params=parameters))
    return measured | asyncio.run(_time_passes(stack))


def _row() -> dict[str, Any]:
    return {
        "id": time.monotonic_ns(),
        "name": "Ada",
        "hired_at": "2021-11-07T00:00:00Z",
        "department_id": 1,
        "job_id": 1,
    }


def _time(request: Callable[[], httpx2.Response]) -> float:
    milliseconds = []
    for _ in range(RUNS + 5):
        began = time.perf_counter()
        request().raise_for_status()
        milliseconds.append((time.perf_counter() - began) * 1000)
    return median(milliseconds[5:])


async def _time_passes(stack: Stack) -> dict[str, float]:
    """The retention of each service, with nothing to delete; gauges of jobs; files that no job needs."""
    measured = {}
    for service in SERVICES:
        pool = await _connect(stack, service)
        task = _retention(service)
        measured[RETENTION_OF.format(service)] = await _time_async(partial(task.run, pool))
        if service == "gateway":
            measured["gauges"] = await _time_async(partial(gauges.run, pool))
            measured["files that are needed, of 100"] = await _time_async(partial(_select_files, pool))
        await pool.close()
    return measured


async def _time_async(work: Callable[[], Awaitable[Any]]) -> float:
    milliseconds = []
    for _ in range(10):
        began = time.perf_counter()
        await work()
        milliseconds.append((time.perf_counter() - began) * 1000)
    return median(milliseconds)


async def _select_files(pool: Pool) -> None:
    async with pool.acquire() as db:
        await select_needed_files(db, [f"file {number}" for number in range(100)])


async def _delete_all(stack: Stack) -> None:
    """Runs the retention of all services with a shorter life, until no old event and no old mark is left."""
    pools = {service: await _connect(stack, service) for service in SERVICES}
    keep = {"keep_jobs_days": KEEP_DAYS, "keep_events_days": KEEP_DAYS}
    tasks = [
        (_retention(service, **(keep if service == "gateway" else {"keep_ledger_days": KEEP_DAYS})), pool)
        for service, pool in pools.items()
    ]
    ages = {"gateway": ("events", "time"), "indexer": ("chunks", "done_at"), "analytics": ("chunks", "done_at")}
    async with asyncio.timeout(MOST_MINUTES * 60):
        while any([await _has_old(pools[service], *age) for service, age in ages.items()]):
            for task, pool in tasks:
                await task.run(pool)
    for pool in pools.values():
        await pool.close()


async def _has_old(pool: Pool, table: str, column: str) -> bool:
    old = f"SELECT EXISTS (SELECT FROM {table} WHERE {column} < now() - interval '{KEEP_DAYS} days')"
    return bool(await pool.fetchval(old))


def _retention(service: str, **keep: int) -> RetentionTask:
    retentions, kind = SERVICES[service]
    required = {"database_url": "", "broker_url": ""}
    required |= {"spool_url": ""} if service in {"gateway", "ingestor"} else {}
    required |= {"catalog_dir": ""} if service == "gateway" else {}
    return RetentionTask(service, retentions, kind(**required, **keep))  # type: ignore[arg-type]


async def _connect(stack: Stack, service: str) -> Pool:
    return await connect(stack.env[f"{service.upper()}_DATABASE_URL"], name="bench", connections=2)


def _sizes(stack: Stack) -> dict[str, str]:
    """Rows, and megabytes with indexes."""
    sizes = {}
    for table in TABLES:
        query = f"SELECT count(*), pg_total_relation_size('{table}') FROM {table}"
        rows, size = map(int, psql.run(stack, query).split("|"))
        sizes[table] = f"{rows:,} rows ({size / 1e6:,.1f} MB)"
    return sizes
