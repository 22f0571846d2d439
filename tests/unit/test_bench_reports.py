"""The hires that reports are measured with, and how questions that don't wait for each other are timed."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
import pytest

from bench import arrivals, hired, reports, view


@pytest.fixture(scope="module")
def good() -> pl.DataFrame:
    return hired.frame(1, 100_000).with_columns(pl.col("hired_at").str.to_datetime(time_zone="UTC"))


def test_hires_are_of_all_years_departments_and_jobs(good: pl.DataFrame) -> None:
    assert good["id"].to_list() == list(range(1, 100_001))
    assert good["hired_at"].min() >= datetime(2015, 1, 1, tzinfo=UTC)
    assert good["hired_at"].max() < datetime(2020, 1, 1, tzinfo=UTC)
    assert good.select("department_id", "job_id").n_unique() == 12 * 183
    years = Counter(good["hired_at"].dt.year())
    assert set(years) == set(hired.YEARS)
    assert max(years.values()) < 1.01 * min(years.values())


def test_a_chunk_of_them_touches_nearly_as_many_groups_as_it_has_rows(good: pl.DataFrame) -> None:
    moment = pl.col("hired_at").dt
    groups = good.with_columns(year=moment.year(), quarter=moment.quarter())
    for first in range(0, 100_000, 10_000):
        chunk = groups.slice(first, 10_000)
        assert chunk.select("year", "quarter", "department_id", "job_id").n_unique() > 8_000


def test_later_hires_go_on_where_earlier_ones_ended(good: pl.DataFrame) -> None:
    later = hired.frame(40_001, 60_000).with_columns(pl.col("hired_at").str.to_datetime(time_zone="UTC"))
    assert later.equals(good.slice(40_000))


def test_peers_read_no_rollup() -> None:
    for report in reports.REPORTS:
        assert "rollups." not in view.over_view(report) + view.over_table(report)
        assert view.VIEW in view.over_view(report)
        assert f"data.{hired.DATASET}" in view.over_table(report)


def test_questions_come_as_often_as_told_and_the_same_every_time() -> None:
    due = arrivals.moments(10_000, 50)
    assert due == arrivals.moments(10_000, 50)
    assert due[-1] == pytest.approx(200, rel=0.05)
    gaps = [after - before for before, after in pairwise(due)]
    assert min(gaps) > 0
    assert sum(gap < 0.02 for gap in gaps) / len(gaps) == pytest.approx(0.63, abs=0.02)


def test_both_reports_are_asked_alike_of_every_year() -> None:
    asked = Counter(reports.questions())
    assert set(asked) == set(reports.ALL)
    assert sum(asked.values()) == reports.RATE * reports.SECONDS
    assert min(asked.values()) > 60


async def test_nobody_waits_for_the_answer_to_another() -> None:
    here, all_here = set[int](), asyncio.Event()

    async def ask(number: int) -> None:
        here.add(number)
        if len(here) == 3:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 5)

    assert [wait.answered for wait in await arrivals.ask_all(ask, [0, 1, 2], [0.0, 0.0, 0.01])] == [True] * 3


async def test_time_counts_from_when_a_question_was_due_also_if_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE", 0.05)
    never = asyncio.Event()

    async def ask(answered: str) -> None:
        if answered == "never":
            await never.wait()

    never_answered, asked_late, at_once = await arrivals.ask_all(ask, ["never", "at once", "at once"], [0.0, -0.2, 0.1])
    assert not never_answered.answered
    assert never_answered.milliseconds >= 150
    assert asked_late.answered
    assert asked_late.milliseconds >= 200
    assert at_once.answered
    assert at_once.milliseconds < 100


async def test_an_answer_that_is_an_error_ends_the_measurement() -> None:
    async def ask(question: str) -> None:
        raise AssertionError(question)

    with pytest.raises(AssertionError, match="what"):
        await arrivals.ask_all(ask, ["what"], [0.0])
