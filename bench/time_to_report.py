"""Time from loaded rows until a report shows them, on an idle system."""

import time

import httpx2
import polars as pl

from bench import catalog_hires, jobs, psql
from bench.results import Row, at_most
from bench.stack import Stack
from bench.timing import p95, spread, until

BATCHES, WARMING = 100, 5
BATCH_ROWS = 10
LIMIT = 500
SECONDS = 10
YEAR = catalog_hires.YEARS[-1]
REPORT = "/v1/reports/hires_by_quarter"


def measure(stack: Stack) -> list[Row]:
    """Sends batches, each after the job before it has ended, and requests the report until it includes the rows."""
    loaded, sent = [], []
    with jobs.client(stack) as http:
        catalog_hires.ensure_rows(stack, http, catalog_hires.ROWS)
        first, expected = catalog_hires.count(stack) + 1, _hires(http)
        for number in range(-WARMING, BATCHES):
            good = catalog_hires.frame(first + (number + WARMING) * BATCH_ROWS, BATCH_ROWS)
            rows = good.with_columns(hired_at=pl.lit(f"{YEAR}-06-01T12:00:00Z")).to_dicts()
            began = time.time()
            response = http.post(f"/v1/datasets/{catalog_hires.DATASET}/rows", json={"rows": rows})
            assert response.status_code == 202, response.text
            expected += BATCH_ROWS
            shown = _wait_for_hires(http, expected)
            job = http.get(response.json()["links"]["self"], headers={"Prefer": "wait=30"}).raise_for_status().json()
            assert job["outcome"]["inserted"] == BATCH_ROWS, job
            if number >= 0:
                loaded.append((shown - _loaded_at(stack, job["id"])) * 1000)
                sent.append((shown - began) * 1000)
    label = f"shown, {BATCH_ROWS} rows among {catalog_hires.ROWS:,}"
    return [
        Row(f"{label}: from loaded to shown", spread([loaded]), None, at_most(p95(loaded), LIMIT, " ms")),
        Row("shown: from POST to shown", spread([sent])),
    ]


def _wait_for_hires(http: httpx2.Client, expected: int) -> float:
    """Returns when the report includes all hires, as seconds since the epoch."""
    until(lambda: _hires(http) == expected, SECONDS, f"the report does not show {expected} hires", pause=0.005)
    return time.time()


def _hires(http: httpx2.Client) -> int:
    """Returns the year's hires in the report."""
    response = http.get(REPORT, params={"year": YEAR})
    assert response.status_code == 200, response.text
    return sum(int(row[quarter]) for row in response.json()["data"] for quarter in ("q1", "q2", "q3", "q4"))


def _loaded_at(stack: Stack, job: str) -> float:
    """Returns when the rows were loaded, from the ledger, as seconds since the epoch."""
    return float(
        psql.run(stack, f"SELECT extract(epoch FROM max(loaded_at)) FROM ingestor.chunks WHERE job_id = '{job}'")
    )
