"""How long after rows are loaded a report shows them, on a system that has nothing else to do."""

import time

import httpx2
import polars as pl

from bench import hired, jobs, psql
from bench.report import Row, at_most
from bench.stack import Stack
from bench.timing import p95, spread

BATCHES, WARMING = 100, 5
BATCH_ROWS = 10
LIMIT = 500
SECONDS = 10
YEAR = hired.YEARS[-1]
REPORT = "/v1/reports/hires_by_quarter"


def measure(stack: Stack) -> list[Row]:
    """One batch after another, each when the job before it has ended; a report is asked for until it has the rows."""
    loaded, sent = [], []
    with jobs.client(stack) as http:
        hired.stock(stack, http, hired.ROWS)
        first, shown = hired.count(stack) + 1, _hires(http)
        for number in range(-WARMING, BATCHES):
            good = hired.frame(first + (number + WARMING) * BATCH_ROWS, BATCH_ROWS)
            rows = good.with_columns(hired_at=pl.lit(f"{YEAR}-06-01T12:00:00Z")).to_dicts()
            began = time.time()
            answer = http.post(f"/v1/datasets/{hired.DATASET}/rows", json={"rows": rows})
            assert answer.status_code == 202, answer.text
            shown += BATCH_ROWS
            seen = _until(http, shown)
            job = http.get(answer.json()["links"]["self"], headers={"Prefer": "wait=30"}).raise_for_status().json()
            assert job["outcome"]["inserted"] == BATCH_ROWS, job
            if number >= 0:
                loaded.append((seen - _loaded_at(stack, job["id"])) * 1000)
                sent.append((seen - began) * 1000)
    what = f"shown, {BATCH_ROWS} rows among {hired.ROWS:,}"
    return [
        Row(f"{what}: from loaded to shown", spread([loaded]), None, at_most(p95(loaded), LIMIT, " ms")),
        Row("shown: from POST to shown", spread([sent])),
    ]


def _until(http: httpx2.Client, shown: int) -> float:
    """When an answer came that has all of them."""
    deadline = time.monotonic() + SECONDS
    while (hires := _hires(http)) != shown:
        assert time.monotonic() < deadline, (hires, shown)
        time.sleep(0.005)
    return time.time()


def _hires(http: httpx2.Client) -> int:
    """Of the year, as the report adds up."""
    answer = http.get(REPORT, params={"year": YEAR})
    assert answer.status_code == 200, answer.text
    return sum(int(row[quarter]) for row in answer.json()["data"] for quarter in ("q1", "q2", "q3", "q4"))


def _loaded_at(stack: Stack, job: str) -> float:
    """By the ledger, which is closed just before the commit."""
    return float(
        psql.run(stack, f"SELECT extract(epoch FROM max(loaded_at)) FROM ingestor.chunks WHERE job_id = '{job}'")
    )
