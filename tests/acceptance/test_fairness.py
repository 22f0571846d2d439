"""Fairness: small batches end within seconds while a large import is loaded, indexed and counted."""

import asyncio
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import structlog

from tests.stack import Stack, empty
from tests.waiting import eventually

ROWS = 300_000
SECONDS = 240
PACE_SECONDS = 0.5
P95_SECONDS = 5.0
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
