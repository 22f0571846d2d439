"""How long a client waits for a batch of a thousand rows to be loaded, on a system that has nothing else to do."""

import time
from statistics import quantiles

from bench import hires, jobs
from bench.report import Row, at_most
from bench.stack import Stack

BATCHES, ROWS = 200, 1000
LIMIT = 200
DATASET = "bench_batch"


def measure(stack: Stack) -> list[Row]:
    """One after another, all rows new; the first few, in which processes warm up, are not counted."""
    milliseconds = []
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
        for number in range(-5, BATCHES):
            good = hires.frame((number + 5) * ROWS + 1, ROWS).with_columns(department_id=1, job_id=2)
            body = {"rows": good.to_dicts()}
            began = time.perf_counter()
            answer = http.post(f"/v1/datasets/{DATASET}/rows", json=body, headers={"Prefer": "wait=30"})
            if number >= 0:
                milliseconds.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, answer.text
            assert answer.json()["outcome"]["inserted"] == ROWS, answer.text
    p95 = quantiles(milliseconds, n=20)[-1]
    return [
        Row(f"batch, {ROWS} rows with Prefer: wait: p50", f"{quantiles(milliseconds, n=2)[0]:.0f} ms"),
        Row("batch: p95", f"{p95:.0f} ms", None, at_most(p95, LIMIT, " ms")),
    ]
