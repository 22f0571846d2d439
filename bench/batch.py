"""Response time of a batch of a thousand rows with `Prefer: wait`, on an idle system."""

import time
from statistics import quantiles

from bench import hires, jobs
from bench.results import Row, at_most
from bench.stack import Stack

BATCHES, ROWS = 200, 1000
LIMIT = 200
DATASET = "bench_batch"


def measure(stack: Stack) -> list[Row]:
    """Sends batches one after another, all rows new. The first five warm up and are not counted."""
    milliseconds = []
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
        for number in range(-5, BATCHES):
            good = hires.frame((number + 5) * ROWS + 1, ROWS).with_columns(department_id=1, job_id=2)
            body = {"rows": good.to_dicts()}
            began = time.perf_counter()
            response = http.post(f"/v1/datasets/{DATASET}/rows", json=body, headers={"Prefer": "wait=30"})
            if number >= 0:
                milliseconds.append((time.perf_counter() - began) * 1000)
            assert response.status_code == 200, response.text
            assert response.json()["outcome"]["inserted"] == ROWS, response.text
    p95 = quantiles(milliseconds, n=20)[-1]
    return [
        Row(f"batch, {ROWS} rows with Prefer: wait: p50", f"{quantiles(milliseconds, n=2)[0]:.0f} ms"),
        Row("batch: p95", f"{p95:.0f} ms", None, at_most(p95, LIMIT, " ms")),
    ]
