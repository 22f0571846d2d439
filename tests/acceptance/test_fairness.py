"""Fairness: small batches end during a large import, and syncs while other sources are slow."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import structlog

from tests.fake_source import TOKEN, run_fake_source
from tests.stack import Stack, empty, replica
from tests.waiting import eventually

ROWS = 300_000
SECONDS = 240
PACE_SECONDS = 0.5
P95_SECONDS = 5.0
SLOW_SECONDS = 20.0
log = structlog.get_logger()


def write_items(path: Path) -> None:
    """A file of items with long texts: indexing takes several times as long as loading."""
    pl.DataFrame({"id": pl.int_range(1, ROWS + 1, eager=True)}).select(
        pl.col("id"),
        pl.format("Item {}", pl.col("id")).alias("name"),
        pl.format("Category {}", pl.col("id") % 50).alias("category"),
        pl.lit("9.90").alias("price"),
        (pl.col("id") % 9).alias("quantity"),
        pl.format("Described at length by {} and {} words that differ", pl.col("id"), pl.col("id") % 997).alias(
            "description"
        ),
    ).write_csv(path)


async def load_batch(stack: Stack, number: int) -> float:
    """Loads a batch of ten customers and returns the seconds until it was searchable and counted."""
    rows = [
        {"customer_id": f"fair-{number}-{row}", "first_name": "Ada", "last_name": "Byron", "email": "a@example.org"}
        for row in range(10)
    ]
    began = time.monotonic()
    answer = await stack.client.post("/v1/datasets/customers/rows", json={"rows": rows}, headers={"Prefer": "wait=60"})
    assert answer.json()["status"] == "succeeded", answer.text
    return time.monotonic() - began


@pytest.mark.timeout(400)
async def test_batches_overtake_a_large_import_at_every_stage(stack: Stack, tmp_path: Path) -> None:
    await empty(stack)
    path = tmp_path / "items.csv"
    write_items(path)
    accepted = await stack.client.post(
        "/v1/datasets/items/imports", content=path.read_bytes(), headers={"Content-Type": "text/csv"}
    )
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()["id"]
    ended = asyncio.create_task(end(stack, job))
    batches: list[asyncio.Task[float]] = []
    while not ended.done():
        # At a fixed pace: a batch that waits does not keep the next ones from being sent.
        batches.append(asyncio.create_task(load_batch(stack, len(batches))))
        await asyncio.wait([ended], timeout=PACE_SECONDS)
    assert (await ended)["status"] == "succeeded"
    taken = sorted(await asyncio.gather(*batches))
    figures = {name: taken[int(share * len(taken))] for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 0.999))}
    log.info("batches during an import", count=len(taken), **figures)
    assert len(taken) > 5
    assert figures["p95"] < P95_SECONDS, figures


async def end(stack: Stack, job: str) -> dict[str, Any]:
    """The job, once it has ended."""

    async def ended() -> dict[str, Any]:
        body: dict[str, Any] = (await stack.client.get(f"/v1/jobs/{job}")).json()
        return body if body["finished_at"] else {}

    return await eventually(ended, SECONDS)


@pytest.mark.usefixtures("faults")
async def test_two_slow_sources_do_not_stop_a_third(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(stack)
    async with contextlib.AsyncExitStack() as sources:
        slow, slow_too, quick = [await sources.enter_async_context(run_fake_source()) for _ in range(3)]
        slow.add_fault(delay=SLOW_SECONDS)
        slow_too.add_fault(delay=SLOW_SECONDS)
        monkeypatch.setenv("SOURCE_ALLOW", ",".join(source.place for source in (slow, slow_too, quick)))
        monkeypatch.setenv("SOURCE_CRM", slow.url)
        monkeypatch.setenv("SECRET_CRM_TOKEN", TOKEN)
        monkeypatch.setenv("SOURCE_WAREHOUSE", slow_too.url)
        monkeypatch.setenv("SOURCE_CUSTOMERS", quick.url)
        await asyncio.to_thread(stack.millrace, "down", "ingestor")
        with replica(stack, "ingestor", tmp_path / "ingestor.log"):
            jobs = [await start_sync(stack, dataset) for dataset in ("contacts", "items")]

            async def both_wait() -> bool:
                return bool(slow.world.requests and slow_too.world.requests)

            await eventually(both_wait, SECONDS)
            began = time.monotonic()
            done = await stack.client.post("/v1/datasets/customers/syncs", headers={"Prefer": "wait=60"})
            assert done.json()["status"] == "succeeded", done.text
            assert time.monotonic() - began < SLOW_SECONDS / 2
            for job in jobs:
                assert not (await stack.client.get(f"/v1/jobs/{job}")).json()["finished_at"]
            slow.clear_faults()
            slow_too.clear_faults()
            for job in jobs:
                assert (await end(stack, job))["status"] == "succeeded"
        await asyncio.to_thread(stack.millrace, "up", "ingestor")


async def start_sync(stack: Stack, dataset: str) -> str:
    answer = await stack.client.post(f"/v1/datasets/{dataset}/syncs")
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job
