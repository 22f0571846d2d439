"""Declares datasets and loads files over HTTP, as a client does."""

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from bench import hires, psql
from bench.stack import Stack
from bench.timing import until

DECLARE_SECONDS = 30
POLL_SHARE = 0.02
"""Pause between two polls as a share of the elapsed time, which limits both error and cost."""


class Load(msgspec.Struct, frozen=True):
    """Seconds from the start of an upload until it was accepted, all chunks were loaded, and the job ended."""

    accepted: float
    loaded: float
    ended: float
    outcome: dict[str, int]


def client(stack: Stack) -> httpx2.Client:
    """Returns a client with the stack's API key."""
    return httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=300)


def declare(http: httpx2.Client, dataset: str, declaration: dict[str, Any] = hires.DECLARATION) -> None:
    """Declares a dataset, by default of hires, and waits until its table exists."""
    path = f"/v1/datasets/{dataset}"
    response = http.put(path, json=declaration)
    assert response.is_success, response.text
    until(lambda: http.get(path).is_success, DECLARE_SECONDS, f"{dataset} is not declared")


def load_file(stack: Stack, http: httpx2.Client, dataset: str, path: Path) -> Load:
    """Loads a file without a header with curl, which costs as little CPU as psql."""
    url = f"{stack.url}/v1/datasets/{dataset}/imports?header=absent"
    headers = ["-H", f"Authorization: Bearer {stack.key}", "-H", "Content-Type: text/csv", "-H", "Expect:"]
    at, began = time.time(), time.perf_counter()
    done = subprocess.run(["curl", "-sS", "-X", "POST", "-T", path, *headers, url], check=True, stdout=subprocess.PIPE)
    accepted = time.perf_counter() - began
    job = msgspec.json.decode(done.stdout)
    while not job["finished_at"]:
        job = http.get(job["links"]["self"], headers={"Prefer": "wait=60"}).raise_for_status().json()
    ended = time.perf_counter() - began
    assert job["status"] in {"succeeded", "partial"}, job
    # Read from the ledger: polling would slow the load that it measures.
    last = f"SELECT extract(epoch FROM max(loaded_at)) FROM ingestor.chunks WHERE job_id = '{job['id']}'"
    return Load(accepted, float(psql.run(stack, last)) - at, ended, job["outcome"])


def load(http: httpx2.Client, dataset: str, body: Iterable[bytes]) -> Load:
    """Loads a file that is generated while it is sent."""
    began = time.perf_counter()
    response = http.post(
        f"/v1/datasets/{dataset}/imports",
        params={"header": "absent"},
        headers={"Content-Type": "text/csv"},
        content=body,
    )
    assert response.status_code == 202, response.text
    accepted = time.perf_counter() - began
    job, loaded = response.json(), 0.0
    while True:
        if not loaded and job["phase"] not in {"plan", "load"}:
            loaded = time.perf_counter() - began
        if job["finished_at"]:
            break
        time.sleep((time.perf_counter() - began) * POLL_SHARE)
        job = http.get(job["links"]["self"]).raise_for_status().json()
    assert job["status"] in {"succeeded", "partial"}, job
    return Load(accepted, loaded, time.perf_counter() - began, job["outcome"])
