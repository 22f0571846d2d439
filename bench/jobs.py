"""Our side of a measurement, as a client sees it: over HTTP."""

import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import msgspec

from bench import hires
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


def client(stack: Stack) -> httpx.Client:
    """With the stack's key, which may declare datasets."""
    return httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=300)


def declare(http: httpx.Client, dataset: str) -> None:
    """A new dataset of hires; its table stands when this returns."""
    path = f"/v1/datasets/{dataset}"
    answer = http.put(path, json=hires.DECLARATION)
    assert answer.is_success, answer.text
    deadline = time.monotonic() + DECLARED_SECONDS
    while not http.get(path).is_success:
        assert time.monotonic() < deadline, f"{dataset} is not declared"
        time.sleep(0.05)


def load_file(http: httpx.Client, dataset: str, path: Path) -> Load:
    """Loads a file of hires."""
    with path.open("rb") as file:
        return load(http, dataset, iter(lambda: file.read(PIECE), b""))


def load(http: httpx.Client, dataset: str, body: Iterable[bytes]) -> Load:
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
