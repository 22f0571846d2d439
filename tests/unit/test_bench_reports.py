"""The generated hires of the report measurements, and the open-loop load."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
import pytest

from bench import catalog_hires, materialized_view, open_loop, reports


@pytest.fixture(scope="module")
def good() -> pl.DataFrame:
    return catalog_hires.frame(1, 100_000).with_columns(pl.col("hired_at").str.to_datetime(time_zone="UTC"))


def test_hires_cover_all_years_departments_and_jobs(good: pl.DataFrame) -> None:
    assert good["id"].to_list() == list(range(1, 100_001))
    hired_at = good["hired_at"].to_list()
    assert min(hired_at) >= datetime(2015, 1, 1, tzinfo=UTC)
    assert max(hired_at) < datetime(2020, 1, 1, tzinfo=UTC)
    assert good.select("department_id", "job_id").n_unique() == 12 * 183
    years = Counter(good["hired_at"].dt.year())
    assert set(years) == set(catalog_hires.YEARS)
    assert max(years.values()) < 1.01 * min(years.values())


def test_chunk_touches_nearly_as_many_groups_as_rows(good: pl.DataFrame) -> None:
    moment = pl.col("hired_at").dt
    groups = good.with_columns(year=moment.year(), quarter=moment.quarter())
    for first in range(0, 100_000, 10_000):
        chunk = groups.slice(first, 10_000)
        assert chunk.select("year", "quarter", "department_id", "job_id").n_unique() > 8_000


def test_later_hires_continue_the_earlier_ones(good: pl.DataFrame) -> None:
    later = catalog_hires.frame(40_001, 60_000).with_columns(pl.col("hired_at").str.to_datetime(time_zone="UTC"))
    assert later.equals(good.slice(40_000))


def test_peers_read_no_rollup() -> None:
    for report in reports.REPORTS:
        assert "rollups." not in materialized_view.over_view(report) + materialized_view.over_table(report)
        assert materialized_view.VIEW in materialized_view.over_view(report)
        assert f"data.{catalog_hires.DATASET}" in materialized_view.over_table(report)


def test_due_times_follow_the_rate_and_are_reproducible() -> None:
    due = open_loop.due_times(10_000, 50)
    assert due == open_loop.due_times(10_000, 50)
    assert due[-1] == pytest.approx(200, rel=0.05)
    gaps = [after - before for before, after in pairwise(due)]
    assert min(gaps) > 0
    assert sum(gap < 0.02 for gap in gaps) / len(gaps) == pytest.approx(0.63, abs=0.02)


def test_queries_are_balanced_over_reports_and_years() -> None:
    queries = Counter(reports.build_queries())
    assert set(queries) == set(reports.ALL)
    assert sum(queries.values()) == reports.RATE * reports.SECONDS
    assert min(queries.values()) > 60


async def test_queries_do_not_wait_for_each_other() -> None:
    here, all_here = set[int](), asyncio.Event()

    async def send(number: int) -> None:
        here.add(number)
        if len(here) == 3:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 5)

    assert [latency.answered for latency in await open_loop.send_all(send, [0, 1, 2], [0.0, 0.0, 0.01])] == [True] * 3


async def test_latency_counts_from_the_due_time_also_after_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE", 0.05)
    never = asyncio.Event()

    async def send(answered: str) -> None:
        if answered == "never":
            await never.wait()

    queries = ["never", "at once", "at once"]
    never_answered, sent_late, at_once = await open_loop.send_all(send, queries, [0.0, -0.2, 0.1])
    assert not never_answered.answered
    assert never_answered.milliseconds >= 150
    assert sent_late.answered
    assert sent_late.milliseconds >= 200
    assert at_once.answered
    assert at_once.milliseconds < 100


async def test_error_ends_the_measurement() -> None:
    async def send(query: str) -> None:
        raise AssertionError(query)

    with pytest.raises(AssertionError, match="what"):
        await open_loop.send_all(send, ["what"], [0.0])
