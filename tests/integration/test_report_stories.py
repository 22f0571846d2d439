"""The reports of the catalog after any sequence of jobs, compared with plain Python."""

import datetime as dt
import random
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.state import REPOSITORY
from shared.catalog.report import Report
from shared.catalog.report_files import read_reports
from shared.contracts.events import ChunkLoaded
from shared.db import Pool
from tests.integration.ingestor_runner import Ingestor, forget
from tests.integration.job_stories import EXAMPLES, until_done
from tests.integration.reader_runners import Analytics
from tests.integration.test_sequences import Job, ask, stories

DEPARTMENTS = {1: "Software", 2: "Milling", 3: "Nobody was hired here"}
JOBS = {1: "Baker", 2: "Clerk"}
YEARS = (1999, 2020, 2021, 2022)
REPORTS = {file.name: file.report for file in read_reports(REPOSITORY / "catalog")}
Rows = list[dict[str, Any]]


async def shown(gateway: Pool, name: str, **values: Any) -> Rows:
    """As the gateway computes it."""
    report = REPORTS[name]
    assert isinstance(report, Report)
    arguments = [values.get(one.name, one.default and one.parse_default()) for one in report.parameters]
    return [dict(row) for row in await gateway.fetch(report.build_statement().text, *arguments)]


def hires_by_quarter(rows: Rows, year: int) -> Rows:
    found: dict[tuple[str, str], Counter[int]] = {}
    for row in rows:
        # Jobs and departments that nobody has declared are shown by nobody.
        if row["hired_at"].year == year:
            key = DEPARTMENTS[row["department_id"]], JOBS[row["job_id"]]
            found.setdefault(key, Counter())[(row["hired_at"].month + 2) // 3] += 1
    return [
        {"department": department, "job": job, **{f"q{quarter}": quarters[quarter] for quarter in (1, 2, 3, 4)}}
        for (department, job), quarters in sorted(found.items())
    ]


def departments_above_average(rows: Rows, year: int) -> Rows:
    hired = Counter(row["department_id"] for row in rows if row["hired_at"].year == year)
    mean = hired.total() / len(DEPARTMENTS)
    above = [number for number in DEPARTMENTS if hired[number] > mean]
    return [
        {"id": number, "department": DEPARTMENTS[number], "hired": hired[number]}
        for number in sorted(above, key=lambda number: (-hired[number], number))
    ]


def balance_by_join_month(rows: Rows) -> Rows:
    months: dict[dt.date, list[Decimal]] = {}
    for row in rows:
        if row["created_at"] is not None:
            month = row["created_at"].date().replace(day=1)
            months.setdefault(month, []).append(row["account_balance"] or Decimal(0))
    return [
        {
            "month": month,
            "customers": len(found),
            "balance": sum(found),
            "mean_balance": (sum(found, Decimal(0)) / len(found)).quantize(Decimal("0.01"), ROUND_HALF_UP),
        }
        for month, found in sorted(months.items())
    ]


async def hold(ingestor: Ingestor, gateway: Pool, dataset: str) -> None:
    rows = [dict(row) for row in await ingestor.rows(dataset)]
    if dataset == "customers":
        assert await shown(gateway, "balance_by_join_month") == balance_by_join_month(rows)
        return
    for year in YEARS:
        assert await shown(gateway, "hires_by_quarter", year=year) == hires_by_quarter(rows, year)
        assert await shown(gateway, "departments_above_average", year=year) == departments_above_average(rows, year)


@pytest.mark.parametrize("dataset", ["hired_employees", "customers"])
@settings(EXAMPLES, max_examples=20)
@given(data=st.data())
async def test_reports_are_what_python_says_after_each_job(
    ingestor: Ingestor, analytics: Analytics, gateway: Pool, dataset: str, data: st.DataObject
) -> None:
    story: list[Job] = data.draw(stories(dataset))
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    await forget(analytics.admin)
    for name, known in (("departments", DEPARTMENTS), ("jobs", JOBS)):
        await ingestor.load_all(await ingestor.plan(name, "".join(f"{key},{word}\n" for key, word in known.items())))
    for job in story:
        commands, _ = await ask(ingestor, dataset, job)
        loaded: list[ChunkLoaded] = (await ingestor.follow(commands, chance)).loaded
        deliveries = [*loaded, *chance.sample(loaded, len(loaded) // 3)]
        chance.shuffle(deliveries)
        for event in chance.sample(deliveries, len(deliveries) // 4):
            await analytics.die(event)
        for event in deliveries:
            await until_done(analytics.hear, event)
        await hold(ingestor, gateway, dataset)
