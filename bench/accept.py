"""How many batches of two rows are accepted in a second, beside FastAPI + SQLAlchemy + Celery.

Both answer 202 when the job is committed to the same Postgres and its message will reach the same RabbitMQ whatever is
killed: ours through the outbox, theirs by a confirmed publish. Nobody consumes meanwhile; that is measured afterwards.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from tempfile import TemporaryFile

import httpx2
import msgspec

from bench import jobs, psql
from bench.programs import available, peer_python
from bench.report import Row, at_least
from bench.stack import Stack
from deploy.local import ports
from deploy.local.state import REPOSITORY

RUNS = 3
SECONDS, CONNECTIONS = 10, 64
WORKERS = (1, 2)
LIMIT = 8
DRAIN_SECONDS = 60
DATASET = "bench_rows"
CONSUMERS = ("ingestor", "indexer", "analytics")
PEER_TABLES = f"""
CREATE SCHEMA bench_peer;
CREATE TABLE bench_peer.jobs (id uuid PRIMARY KEY, status text NOT NULL, rows jsonb NOT NULL,
                              created_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz);
CREATE TABLE bench_peer.hires ({psql.COLUMNS}, PRIMARY KEY (id));
"""
OUR_JOBS, PEER_JOBS = f"gateway.jobs WHERE dataset = '{DATASET}'", "bench_peer.jobs WHERE true"


class Storm(msgspec.Struct, frozen=True):
    """What wrk says: answers, those that were no 2xx, broken connections; percentiles in milliseconds."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def measure(stack: Stack) -> list[Row]:
    """Medians of three runs by turns. The peer with as many processes as suit it best is the one to compare with."""
    if not available("wrk"):
        return [Row("accept: wrk, which makes the requests, is not installed", "not measured")]
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
    psql.run(stack, PEER_TABLES)
    stack.down(*CONSUMERS)
    ours, handed, theirs = [], [], dict[int, list[Storm]]()
    for run in range(RUNS):
        for workers in WORKERS:
            with _peer(stack, "uvicorn", "bench.peers.jobs_fastapi:app", f"--workers={workers}") as url:
                storm = _storm(stack, f"{url}/rows", PEER_JOBS, run)
                theirs.setdefault(workers, []).append(storm)
        began = time.perf_counter()
        storm = _storm(stack, f"{stack.url}/v1/datasets/{DATASET}/rows", OUR_JOBS, run)
        ours.append(storm)
        _until_handed_over(stack)
        handed.append(storm.requests / (time.perf_counter() - began))
    peers = {workers: median(storm.rate for storm in storms) for workers, storms in theirs.items()}
    best, accepted = max(peers.values()), median(storm.rate for storm in ours)
    with _peer(stack, "celery", "-A", "bench.peers.jobs_celery", "worker", "--concurrency=2", "--without-mingle"):
        celery = _drain(stack, PEER_JOBS)
    stack.up(*CONSUMERS)
    done = _drain(stack, OUR_JOBS)
    return [
        *(
            Row(f"accept: FastAPI + SQLAlchemy + Celery, uvicorn with {workers}", _shown(storms), peers[workers] / best)
            for workers, storms in theirs.items()
        ),
        Row("accept: Millrace, 1 process", _shown(ours), accepted / best, at_least(accepted / best, LIMIT)),
        Row("accept: Millrace, until all is with RabbitMQ", f"{median(handed):,.0f}/s", median(handed) / best),
        Row("accept, then jobs done: Celery with 2 processes", f"{celery:,.0f}/s", 1.0),
        Row("accept, then jobs done: Millrace", f"{done:,.0f}/s", done / celery),
    ]


def _shown(storms: list[Storm]) -> str:
    p50, p99 = median(storm.p50 for storm in storms), median(storm.p99 for storm in storms)
    return f"{median(storm.rate for storm in storms):,.0f}/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def _storm(stack: Stack, url: str, table: str, run: int) -> Storm:
    psql.settle(stack)
    before = _count(stack, table)
    script = REPOSITORY / "bench" / "rows.lua"
    wrk = ["wrk", "--threads=1", f"--connections={CONNECTIONS}", f"--duration={SECONDS}s", f"--script={script}", url]
    done = subprocess.run(
        [*wrk, "--", stack.key, str((run + 1) * 10_000_000)], check=True, stdout=subprocess.PIPE, text=True
    )
    storm = msgspec.json.decode(done.stdout.splitlines()[-1], type=Storm)
    assert not storm.refused, storm
    assert not storm.broken, storm
    assert _count(stack, table) - before >= storm.requests, "an accepted job is not there"
    return storm


@contextmanager
def _peer(stack: Stack, module: str, *arguments: str) -> Iterator[str]:
    """A program of the peer, as a module; the URL is that of uvicorn."""
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
            _until_answers(url)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _until_answers(url: str) -> None:
    deadline = time.monotonic() + 30
    while url:
        try:
            httpx2.get(f"{url}/openapi.json")
        except httpx2.TransportError:
            assert time.monotonic() < deadline, "the peer does not start"
            time.sleep(0.1)
        else:
            return


def _until_handed_over(stack: Stack) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while int(psql.run(stack, "SELECT count(*) FROM gateway.outbox")):
        assert time.monotonic() < deadline, "the outbox is not published"
        time.sleep(0.1)


def _drain(stack: Stack, table: str) -> float:
    """Jobs per second from the first that was done to the last, or to the last within a minute."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while _count(stack, f"{table} AND finished_at IS NULL") and time.monotonic() < deadline:
        time.sleep(1)
    window = "extract(epoch FROM max(finished_at) - min(finished_at))"
    rate = psql.run(stack, f"SELECT count(finished_at) / {window} FROM {table}").strip()
    assert rate, "no job was done"
    return float(rate)


def _count(stack: Stack, table: str) -> int:
    return int(psql.run(stack, f"SELECT count(*) FROM {table}"))
