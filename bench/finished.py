"""Batches of two rows finished per second, compared with FastAPI + SQLAlchemy + Celery.

A backlog is accepted while the consumers are down; then they work it off. Celery inserts or updates the rows and ends
the job, in one transaction. It knows neither failed rows, search nor rollups.
"""

from statistics import median
from typing import Any

from bench import accept, hires, jobs, psql
from bench.programs import available
from bench.results import Row, at_least
from bench.stack import Stack

RUNS = 3
SECONDS = 8
CONSUMERS = ("ingestor", "indexer", "analytics")
EXISTING = 60_000
"""Rows that exist before a run; each batch of a run changes another one."""
PLAIN, READ, HALF = "bench_plain", "bench_read", "bench_half"
TARGETS = {PLAIN: 1.3, READ: 1.0, HALF: 0.8}
LABELS = {
    PLAIN: "new keys",
    READ: "new keys, with search and a rollup",
    HALF: "half of the keys exist and their rows change",
}
READERS: dict[str, Any] = {
    "search": {"fields": ["name"], "language": "simple"},
    "rollups": [
        {"name": "hires", "group_by": ["year(hired_at)", "department_id", "job_id"], "measures": {"hires": "count"}}
    ],
}


def measure(stack: Stack) -> list[Row]:
    """Medians of three runs, in each of which peer and Millrace take turns."""
    if not available("wrk"):
        return [Row("finished: needs wrk, which is not installed", "not measured")]
    psql.run(stack, accept.PEER_TABLES)
    with jobs.client(stack) as http:
        jobs.declare(http, PLAIN)
        jobs.declare(http, READ, hires.DECLARATION | READERS)
        jobs.declare(http, HALF)
    rates: dict[tuple[str, str], list[float]] = {}
    for run in range(RUNS):
        for dataset in TARGETS:
            existing = _load_existing(stack, run) if dataset == HALF else 0
            if dataset != READ:  # the peer has no search
                rates.setdefault(("peer", dataset), []).append(_measure_peer(stack, run, existing))
            rates.setdefault(("millrace", dataset), []).append(_measure_millrace(stack, dataset, run, existing))
    middle = {key: median(values) for key, values in rates.items()}
    rows = []
    for dataset, target in TARGETS.items():
        peer = middle["peer", PLAIN if dataset == READ else dataset]
        if dataset != READ:
            rows.append(Row(f"finished, {LABELS[dataset]}: Celery with 2 processes", f"{peer:,.0f}/s", 1.0))
        rate = middle["millrace", dataset]
        rows.append(
            Row(f"finished, {LABELS[dataset]}: Millrace", f"{rate:,.0f}/s", rate / peer, at_least(rate / peer, target))
        )
    return rows


def _measure_peer(stack: Stack, run: int, existing: int) -> float:
    with accept.peer(stack, "uvicorn", "bench.peers.jobs_fastapi:app", "--workers=2") as url:
        accept.run_wrk(
            stack, f"{url}/rows", accept.PEER_JOBS, first=_first(run), existing=existing, seconds=2 * SECONDS
        )
    with accept.peer(stack, "celery", "-A", "bench.peers.jobs_celery", "worker", "--concurrency=2", "--without-mingle"):
        rate = accept.consume(stack, accept.PEER_JOBS)
    psql.run(stack, "TRUNCATE bench_peer.jobs")
    return rate


def _measure_millrace(stack: Stack, dataset: str, run: int, existing: int) -> float:
    stack.down(*CONSUMERS)
    url = f"{stack.url}/v1/datasets/{dataset}/rows"
    before = f"gateway.jobs WHERE dataset = '{dataset}'"
    highest = psql.run(stack, f"SELECT max(created_at) FROM {before}").strip() or "-infinity"
    accept.run_wrk(stack, url, before, first=_first(run), existing=existing, seconds=SECONDS)
    stack.up(*CONSUMERS)
    return accept.consume(stack, f"{before} AND created_at > '{highest}'")


def _first(run: int) -> int:
    """Returns the first new id of a run."""
    return (run + 1) * 10_000_000


def _load_existing(stack: Stack, run: int) -> int:
    """Inserts rows that the batches of this run change, for both sides; returns the first id."""
    first = 1 + run * EXISTING
    moment = "'2020-01-01T00:00:00Z'::timestamptz"
    numbers = f"generate_series({first}, {first + EXISTING - 1}) AS n"
    psql.run(stack, f"INSERT INTO bench_peer.hires SELECT n, 'Grace Fourier', {moment}, 1, 1 FROM {numbers}")
    with jobs.client(stack) as http:
        jobs.load(http, HALF, [hires.frame(first, EXISTING).write_csv(include_header=False).encode()])
    return first
