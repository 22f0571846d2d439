"""Cost of updating a rollup for one chunk, in a small and in a large table.

It is the time that analytics reports for the chunk's message, including the commit. The peer is a concurrent refresh of
a materialized view, which computes all groups.
"""

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import httpx2
import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from bench import catalog_hires, jobs, materialized_view
from bench.results import Row, at_most
from bench.stack import Stack
from bench.timing import until

SIZES = (catalog_hires.ROWS // 100, catalog_hires.ROWS)
CHUNK_ROWS, CHUNKS, WARMING = 10_000, 10, 2
REFRESHES = 3
LIMIT = 1.3
COUNT_SECONDS = 30


class ChunkTime(NamedTuple):
    """Number of chunks and the total time for them since analytics started."""

    chunks: float
    seconds: float


class Costs(NamedTuple):
    """Medians in milliseconds: for a chunk of new rows, a chunk of changed rows, and a refresh of the view."""

    new: float
    changed: float
    refresh: float


def measure(stack: Stack) -> list[Row]:
    """Loads the same chunks into both tables: rows of all years, and nearly as many groups as rows."""
    costs = []
    with jobs.client(stack) as http:
        for size in SIZES:
            catalog_hires.ensure_rows(stack, http, size)
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
    materialized_view.create(stack)
    new, changed, refreshed = [], [], []
    first = catalog_hires.count(stack) + 1
    for number in range(-WARMING, CHUNKS):
        good = catalog_hires.frame(first + (number + WARMING) * CHUNK_ROWS, CHUNK_ROWS)
        changed_rows = good.with_columns(department_id=pl.col("department_id") % catalog_hires.DEPARTMENTS + 1)
        times = _count(stack, http, good), _count(stack, http, changed_rows)
        if number >= 0:
            new.append(times[0])
            changed.append(times[1])
        if number >= CHUNKS - REFRESHES:
            refreshed.append(materialized_view.refresh(stack))
    materialized_view.drop(stack)
    return Costs(median(new), median(changed), median(refreshed))


def _count(stack: Stack, http: httpx2.Client, good: pl.DataFrame) -> float:
    """Loads the rows as one chunk and returns the milliseconds that analytics needed for it."""
    before = _chunk_time(stack)
    outcome = catalog_hires.load(stack, http, good).outcome
    assert outcome["inserted"] + outcome["updated"] == good.height, outcome
    until(
        lambda: _chunk_time(stack).chunks > before.chunks,
        COUNT_SECONDS,
        "analytics has not counted the chunk",
        pause=0,
    )
    after = _chunk_time(stack)
    assert after.chunks == before.chunks + 1, "more than one chunk was counted"
    return (after.seconds - before.seconds) * 1000


def _chunk_time(stack: Stack) -> ChunkTime:
    text = httpx2.get(f"{stack.env['ANALYTICS_URL']}/metrics").raise_for_status().text
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("message") == "chunk.loaded"
    }
    name = "millrace_message_seconds"
    return ChunkTime(samples.get(f"{name}_count", 0), samples.get(f"{name}_sum", 0))
