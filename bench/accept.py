"""Batches of two rows accepted per second, compared with FastAPI + SQLAlchemy + Celery.

Both respond with 202 when the job is committed to Postgres and its message is safe: Millrace by its outbox, the peer
by a confirmed publish to RabbitMQ. Consumers are stopped.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median
from tempfile import TemporaryFile

import httpx2
import msgspec

from bench import jobs, psql
from bench.programs import available, peer_python
from bench.results import Row, at_least
from bench.stack import Stack
from bench.timing import until
from deploy.local import ports
from deploy.local.state import REPOSITORY

RUNS = 3
SECONDS = 10
FEW, MANY = 64, 1000
"""Open connections, each with one request at a time."""
WORKERS = (1, 2)
LIMIT = 4
CONSUME_SECONDS = 60
DATASET = "bench_rows"
CONSUMERS = ("ingestor", "indexer", "analytics")
PEER_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS bench_peer;
CREATE TABLE IF NOT EXISTS bench_peer.jobs (
    id uuid PRIMARY KEY, status text NOT NULL, rows jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE TABLE IF NOT EXISTS bench_peer.hires ({psql.COLUMNS}, PRIMARY KEY (id));
"""
OUTBOX = "SELECT count(*) FROM gateway.outbox WHERE sent_at IS NULL"
PEER = "FastAPI + SQLAlchemy + Celery, uvicorn with {}"
MILLRACE, TWO_PROCESSES = "Millrace, 1 process", "Millrace, 2 processes"
MILLRACE_JOBS, PEER_JOBS = f"gateway.jobs WHERE dataset = '{DATASET}'", "bench_peer.jobs WHERE true"


class LoadTest(msgspec.Struct, frozen=True):
    """Result of wrk: responses, those other than 2xx, connection errors; percentiles in milliseconds."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.requests / self.seconds


def measure(stack: Stack) -> list[Row]:
    """Medians of three alternating runs. Compares with the peer at its best number of processes."""
    if not available("wrk"):
        return [Row("accept: needs wrk, which is not installed", "not measured")]
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
    psql.run(stack, PEER_TABLES)
    stack.down(*CONSUMERS)
    published: list[float] = []
    results: dict[tuple[int, str], list[LoadTest]] = {}
    for run in range(RUNS):
        for connections in (FEW, MANY):
            first = _first(run, connections)
            for workers in WORKERS:
                with peer(stack, "uvicorn", "bench.peers.jobs_fastapi:app", f"--workers={workers}") as url:
                    result = run_wrk(stack, f"{url}/rows", PEER_JOBS, first=first, connections=connections)
                    results.setdefault((connections, PEER.format(workers)), []).append(result)
            began = time.perf_counter()
            url = f"{stack.url}/v1/datasets/{DATASET}/rows"
            result = run_wrk(stack, url, MILLRACE_JOBS, first=first, connections=connections)
            results.setdefault((connections, MILLRACE), []).append(result)
            until(lambda: psql.run(stack, OUTBOX).strip() == "0", CONSUME_SECONDS, "the outbox is not published")
            if connections == FEW:
                published.append(result.requests / (time.perf_counter() - began))
    with _workers(stack, 2):
        for run in range(RUNS):
            url = f"{stack.url}/v1/datasets/{DATASET}/rows"
            result = run_wrk(stack, url, MILLRACE_JOBS, first=_first(RUNS + run, FEW))
            results.setdefault((FEW, TWO_PROCESSES), []).append(result)
    stack.up(*CONSUMERS)
    rates = {key: median(result.rate for result in tests) for key, tests in results.items()}
    best = {few: max(rates[few, PEER.format(workers)] for workers in WORKERS) for few in (FEW, MANY)}
    return [
        *(
            Row(
                f"accept, {connections:,} connections: {name}",
                _summary(tests),
                (ratio := rates[connections, name] / best[connections]),
                at_least(ratio, LIMIT) if name == MILLRACE else "",
            )
            for (connections, name), tests in results.items()
        ),
        Row("accept: Millrace, until all is published", f"{median(published):,.0f}/s", median(published) / best[FEW]),
    ]


def _summary(results: list[LoadTest]) -> str:
    p50, p99 = median(result.p50 for result in results), median(result.p99 for result in results)
    return f"{median(result.rate for result in results):,.0f}/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def run_wrk(
    stack: Stack,
    url: str,
    table: str,
    *,
    first: int,
    existing: int = 0,
    seconds: int = SECONDS,
    connections: int = FEW,
) -> LoadTest:
    """Sends batches with new IDs from `first`, and IDs from `existing` if there are any."""
    psql.settle(stack)
    before = _count(stack, table)
    script = REPOSITORY / "bench" / "rows.lua"
    wrk = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s"]
    done = subprocess.run(
        [*wrk, f"--script={script}", url, "--", stack.key, str(first), str(existing)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result = msgspec.json.decode(done.stdout.splitlines()[-1], type=LoadTest)
    assert not result.refused, result
    assert not result.broken, result
    assert _count(stack, table) - before >= result.requests, "an accepted job is missing"
    return result


@contextmanager
def _workers(stack: Stack, count: int) -> Iterator[None]:
    """Restarts the stack without consumers and with so many gateway processes, and back again after the block."""
    stack.down()
    os.environ["GATEWAY_WORKERS"] = str(count)
    stack.up("gateway")
    try:
        yield
    finally:
        del os.environ["GATEWAY_WORKERS"]
        stack.down()
        stack.up("gateway")


@contextmanager
def peer(stack: Stack, module: str, *arguments: str) -> Iterator[str]:
    """Runs a program of the peer and yields its URL, which is empty for Celery."""
    url = ""
    if module == "uvicorn":
        port = ports.choose("peer", stack.home.read_config().identity, stack.home.read_config().ports.values())
        url = f"http://127.0.0.1:{port}"
        arguments = (*arguments, f"--port={port}", "--log-level=warning", "--no-access-log")
    env = {name: stack.env[name] for name in ("DATABASE_URL", "BROKER_URL")}
    with TemporaryFile() as log:
        process = subprocess.Popen(
            [peer_python(), "-m", module, *arguments], cwd=REPOSITORY, env=os.environ | env, stdout=log, stderr=log
        )
        try:
            if url:
                until(lambda: _answers(url), 30, "the peer does not start")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    with suppress(httpx2.TransportError):
        httpx2.get(f"{url}/openapi.json")
        return True
    return False


def consume(stack: Stack, table: str) -> float:
    """Waits until the jobs have finished, for a minute at most; returns how many did so in a second."""
    deadline = time.monotonic() + CONSUME_SECONDS
    while _count(stack, f"{table} AND finished_at IS NULL") and time.monotonic() < deadline:
        time.sleep(1)
    window = "extract(epoch FROM max(finished_at) - min(finished_at))"
    rate = psql.run(stack, f"SELECT count(finished_at) / {window} FROM {table}").strip()
    assert rate, "no job has finished"
    return float(rate)


def _first(run: int, connections: int) -> int:
    """Returns the first new id of a run."""
    return (run + 1) * 10_000_000 + connections * 1_000


def _count(stack: Stack, table: str) -> int:
    return int(psql.run(stack, f"SELECT count(*) FROM {table}"))
