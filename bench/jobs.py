"""Our side of a measurement, as a client sees it: over HTTP."""

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from bench import hires, psql
from bench.stack import Stack

DECLARED_SECONDS = 30
LOOK_AFTER = 0.02
"""Of the time that has passed: the error is no more, and looking costs next to nothing."""
PIECE = 1 << 18


class Load(msgspec.Struct, frozen=True):
    """Seconds from the start of an upload until it was accepted, all its chunks were loaded, and the job had ended."""

    accepted: float
    loaded: float
    ended: float
    outcome: dict[str, int]


def client(stack: Stack) -> httpx2.Client:
    """With the stack's key, which may declare datasets."""
    return httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=300)


def declare(http: httpx2.Client, dataset: str, declaration: dict[str, Any] = hires.DECLARATION) -> None:
    """A new dataset, of hires unless told; its table stands when this returns."""
    path = f"/v1/datasets/{dataset}"
    answer = http.put(path, json=declaration)
    assert answer.is_success, answer.text
    deadline = time.monotonic() + DECLARED_SECONDS
    while not http.get(path).is_success:
        assert time.monotonic() < deadline, f"{dataset} is not declared"
        time.sleep(0.05)


def load_file(stack: Stack, http: httpx2.Client, dataset: str, path: Path) -> Load:
    """Loads a file without a header, sent by curl: a client that costs as little as psql does."""
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
    # By the ledger, and not by asking again and again: that would cost what it measures.
    last = f"SELECT extract(epoch FROM max(loaded_at)) FROM ingestor.chunks WHERE job_id = '{job['id']}'"
    return Load(accepted, float(psql.run(stack, last)) - at, ended, job["outcome"])


def load(http: httpx2.Client, dataset: str, body: Iterable[bytes]) -> Load:
    """Loads what flows by."""
    began = time.perf_counter()
    answer = http.post(
        f"/v1/datasets/{dataset}/imports",
        params={"header": "absent"},
        headers={"Content-Type": "text/csv"},
        content=body,
    )
    assert answer.status_code == 202, answer.text
    accepted = time.perf_counter() - began
    job, loaded = answer.json(), 0.0
    while True:
        if not loaded and job["phase"] not in {"plan", "load"}:
            loaded = time.perf_counter() - began
        if job["finished_at"]:
            break
        time.sleep((time.perf_counter() - began) * LOOK_AFTER)
        job = http.get(job["links"]["self"]).raise_for_status().json()
    assert job["status"] in {"succeeded", "partial"}, job
    return Load(accepted, loaded, time.perf_counter() - began, job["outcome"])
