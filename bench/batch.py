"""Response time of a batch with `Prefer: wait`, of two and of a thousand rows, on an idle system."""

import time
from statistics import quantiles

import httpx2

from bench import hires, jobs
from bench.results import Row, at_most
from bench.stack import Stack

BATCHES, WARMING = 200, 5
SMALL, LARGE = 2, 1000
SMALL_LIMIT, LARGE_LIMIT = 20, 200
DATASET = "bench_batch"


def measure(stack: Stack) -> list[Row]:
    """Sends batches one after another, all rows new. The first five of each size warm up and are not counted."""
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
        small = _send(http, SMALL, first=100_000_000)
        large = _send(http, LARGE, first=1)
    p50, p95 = quantiles(small, n=2)[0], quantiles(large, n=20)[-1]
    return [
        Row(f"batch, {SMALL} rows with Prefer: wait: p50", f"{p50:.1f} ms", None, at_most(p50, SMALL_LIMIT, " ms")),
        Row(f"batch, {SMALL} rows: p95", f"{quantiles(small, n=20)[-1]:.1f} ms"),
        Row(f"batch, {LARGE} rows with Prefer: wait: p50", f"{quantiles(large, n=2)[0]:.0f} ms"),
        Row(f"batch, {LARGE} rows: p95", f"{p95:.0f} ms", None, at_most(p95, LARGE_LIMIT, " ms")),
    ]


def _send(http: httpx2.Client, rows: int, *, first: int) -> list[float]:
    """Returns the milliseconds of each batch."""
    milliseconds = []
    for number in range(-WARMING, BATCHES):
        good = hires.frame(first + (number + WARMING) * rows, rows).with_columns(department_id=1, job_id=2)
        body = {"rows": good.to_dicts()}
        began = time.perf_counter()
        response = http.post(f"/v1/datasets/{DATASET}/rows", json=body, headers={"Prefer": "wait=30"})
        if number >= 0:
            milliseconds.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, response.text
        assert response.json()["outcome"]["inserted"] == rows, response.text
    return milliseconds
