"""What it costs to keep the rollup current for a chunk, in a small table and in a large one.

It is the time that analytics itself says it took for the chunk's message, commit included. The peer computes all
groups anew, in the way that lets others read meanwhile.
"""

import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import httpx2
import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from bench import hired, jobs, view
from bench.report import Row, at_most
from bench.stack import Stack

SIZES = (hired.ROWS // 100, hired.ROWS)
CHUNK_ROWS, CHUNKS, WARMING = 10_000, 10, 2
REFRESHES = 3
LIMIT = 1.3
COUNTED_SECONDS = 30


class Spent(NamedTuple):
    """On chunks, since analytics was started."""

    chunks: float
    seconds: float


class Costs(NamedTuple):
    """Milliseconds, as medians: for a chunk of rows that are new, one of rows that change, and for a refresh."""

    new: float
    changed: float
    refresh: float


def measure(stack: Stack) -> list[Row]:
    """The same chunks in both tables: rows of all years and nearly as many groups as rows."""
    costs = []
    with jobs.client(stack) as http:
        for size in SIZES:
            hired.stock(stack, http, size)
            costs.append(_costs(stack, http))
    small, large = costs

    def rows(what: str, before: float, after: float, target: str = "") -> Iterator[Row]:
        yield Row(f"counting, {SIZES[0]:,} hires: {what}", f"{before:,.0f} ms", 1.0)
        yield Row(f"counting, {SIZES[1]:,} hires: {what}", f"{after:,.0f} ms", after / before, target)

    new, changed = large.new / small.new, large.changed / small.changed
    return [
        *rows(f"{CHUNK_ROWS:,} new rows", small.new, large.new, at_most(new, LIMIT)),
        *rows(f"{CHUNK_ROWS:,} changed rows", small.changed, large.changed, at_most(changed, LIMIT)),
        *rows("REFRESH MATERIALIZED VIEW CONCURRENTLY", small.refresh, large.refresh),
    ]


def _costs(stack: Stack, http: httpx2.Client) -> Costs:
    view.create(stack)
    new, changed, refreshed = [], [], []
    first = hired.count(stack) + 1
    for number in range(-WARMING, CHUNKS):
        good = hired.frame(first + (number + WARMING) * CHUNK_ROWS, CHUNK_ROWS)
        moved = good.with_columns(department_id=pl.col("department_id") % hired.DEPARTMENTS + 1)
        times = _count(stack, http, good), _count(stack, http, moved)
        if number >= 0:
            new.append(times[0])
            changed.append(times[1])
        if number >= CHUNKS - REFRESHES:
            refreshed.append(view.refresh(stack))
    view.drop(stack)
    return Costs(median(new), median(changed), median(refreshed))


def _count(stack: Stack, http: httpx2.Client, good: pl.DataFrame) -> float:
    """Loads the rows as one chunk; returns the milliseconds that analytics took for it."""
    before = _spent(stack)
    outcome = hired.load(stack, http, good).outcome
    assert outcome["inserted"] + outcome["updated"] == good.height, outcome
    deadline = time.monotonic() + COUNTED_SECONDS
    while (after := _spent(stack)).chunks == before.chunks:
        assert time.monotonic() < deadline, "analytics has not counted the chunk"
    assert after.chunks == before.chunks + 1, "more than one chunk was counted"
    return (after.seconds - before.seconds) * 1000


def _spent(stack: Stack) -> Spent:
    text = httpx2.get(f"{stack.env['ANALYTICS_URL']}/metrics").raise_for_status().text
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("message") == "chunk.loaded"
    }
    name = "millrace_message_seconds"
    return Spent(told.get(f"{name}_count", 0), told.get(f"{name}_sum", 0))
