"""Refresh and rebuild jobs: one at a time, a request that joins gets what it needs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from services.gateway.http.problems import Problem
from services.gateway.jobs import queries
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.kinds import to_body
from services.gateway.jobs.submit import Submission, submit_jobs, uuid7
from services.gateway.reports.refresh import RefreshJobBody, follow_refreshed
from services.gateway.reports.rollups import RebuildJobBody, follow_rebuilt, select_last_rebuild
from shared.contracts.commands import RebuildRollup, RefreshReport
from shared.contracts.events import JobProgress, JobStarted, JobSucceeded, ReportRefreshed, RollupRebuilt
from shared.db import Pool, transaction
from shared.reads.analytics import select_rollup
from tests.integration.ingestor_runner import DATASETS, Ingestor, connected
from tests.integration.reader_runners import Analytics

READ = ("hired_employees", "departments")


@pytest.fixture
async def pool(database: dict[str, str], ingestor: Ingestor) -> AsyncIterator[Pool]:
    del ingestor  # which has declared the catalog
    async with connected(database["gateway"], "tests", 8) as pool:
        await pool.execute("INSERT INTO api_keys VALUES ('k', 'k', '', 'write')")
        yield pool


@pytest.fixture
async def admin(database: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    admin = await asyncpg.connect(database["admin"])
    yield admin
    await admin.close()


def refresh(report: str = "hires", key: str | None = None) -> JobRequest:
    command = RefreshReport(dataset=READ[0], job_id=uuid7(), report=report, datasets=READ)
    return job_request("refresh", command, report, key)


def rebuild(rollup: str = "hires", dataset: str = "hired_employees") -> JobRequest:
    return job_request("rebuild", RebuildRollup(dataset=dataset, job_id=uuid7(), rollup=rollup), rollup, None)


def job_request(kind: Any, command: RefreshReport | RebuildRollup, target: str, key: str | None) -> JobRequest:
    return JobRequest(
        kind=kind, command=command, mode=None, api_key="k", idempotency_key=key, fingerprint=target, target=target
    )


async def ask(pool: Pool, one: JobRequest) -> Submission:
    async with transaction(pool) as db:
        (accepted,) = await submit_jobs(db, [one])
    assert isinstance(accepted, Submission), accepted
    return accepted


async def set_version(admin: asyncpg.Connection, dataset: str, version: int) -> None:
    await admin.execute("UPDATE ingestor.datasets SET version = $2 WHERE name = $1", dataset, version)


def refreshed(job_id: UUID, versions: dict[str, int], *, round_: int = 1, chunks: int = 0) -> ReportRefreshed:
    return ReportRefreshed(
        dataset=READ[0], job_id=job_id, report="hires", round=round_, versions=versions, chunks=chunks
    )


async def hear(pool: Pool, event: ReportRefreshed | RollupRebuilt) -> list[Any]:
    async with transaction(pool) as db:
        if isinstance(event, RollupRebuilt):
            return list(await follow_rebuilt(event, db))
        return list(await follow_refreshed(event, db))


async def body(pool: Pool, job_id: UUID) -> Any:
    async with pool.acquire() as db:
        found = await queries.select_job(db, job_id)
    assert found is not None
    return to_body(*found)


async def test_a_refresh_ends_with_what_the_report_shows(pool: Pool, admin: asyncpg.Connection) -> None:
    await set_version(admin, "hired_employees", 5)
    one = await ask(pool, refresh())
    before = await body(pool, one.job.id)
    assert isinstance(before, RefreshJobBody)
    assert (before.phase, before.report, before.result, before.mode) == ("count", "hires", None, None)
    event = refreshed(one.job.id, {"hired_employees": 5, "departments": 0}, chunks=3)
    assert [type(message) for message in await hear(pool, event)] == [JobStarted, JobSucceeded]
    after = await body(pool, one.job.id)
    assert (after.status, after.version, after.progress.percent) == ("succeeded", 5, 100)
    assert msgspec.to_builtins(after.result) == {
        "versions": {"hired_employees": 5, "departments": 0},
        "chunks": 3,
    }
    assert await hear(pool, event) == []


async def test_a_request_that_joins_a_refresh_gets_what_was_loaded_before_it(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    first = await ask(pool, refresh())
    await set_version(admin, "hired_employees", 7)
    joined = await ask(pool, refresh())
    assert (joined.job.id, joined.attached) == (first.job.id, True)
    messages = await hear(pool, refreshed(first.job.id, {"hired_employees": 6, "departments": 0}, chunks=2))
    assert [type(message) for message in messages] == [JobStarted, RefreshReport]
    again = messages[-1]
    assert (again.round, again.job_id, set(again.datasets)) == (2, first.job.id, set(READ))
    assert (await body(pool, first.job.id)).result is None
    messages = await hear(pool, refreshed(first.job.id, {"hired_employees": 7, "departments": 0}, round_=2, chunks=1))
    assert JobSucceeded in [type(message) for message in messages]
    assert (await body(pool, first.job.id)).result.chunks == 3
    third = await ask(pool, refresh())
    assert (third.attached, third.job.id == first.job.id) == (False, False)


async def test_each_report_and_each_rollup_has_a_job_of_its_own(pool: Pool) -> None:
    everything = [refresh(), refresh("other"), rebuild(), rebuild("other"), rebuild("hires", "items")]
    begun = [(await ask(pool, one)).job.id for one in everything]
    assert len(set(begun)) == 5
    assert (await ask(pool, rebuild())).job.id == begun[2]


async def test_a_key_stands_for_the_refresh_that_it_was_answered_with(pool: Pool) -> None:
    first = await ask(pool, refresh())
    assert (await ask(pool, refresh(key="a"))).attached
    again = await ask(pool, refresh(key="a"))
    assert (again.job.id, again.replayed, again.attached) == (first.job.id, True, True)
    async with transaction(pool) as db:
        (other,) = await submit_jobs(db, [refresh("other", key="a")])
    assert isinstance(other, Problem)
    assert other.code == "idempotency_key_reused"


async def test_however_many_ask_and_hear_at_once_everybody_gets_what_was_loaded(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """Each asks after his version is loaded, also between what analytics has counted and what is heard of it."""
    requests: list[tuple[UUID, int]] = []
    version = 0

    async def asks() -> None:
        nonlocal version
        version += 1
        await set_version(admin, "hired_employees", version)
        wanted = version
        requests.append(((await ask(pool, refresh())).job.id, wanted))

    async def counts(*, joined: bool) -> None:
        running = await pool.fetchrow("SELECT id, command FROM jobs WHERE finished_at IS NULL")
        if running:
            counted = await pool.fetchval("SELECT version FROM ingestor.datasets WHERE name = 'hired_employees'")
            event = refreshed(
                running["id"],
                {"hired_employees": counted, "departments": 0},
                round_=running["command"].get("round", 1),
            )
            if joined:
                await asks()
            await asyncio.gather(hear(pool, event), ask(pool, refresh()), ask(pool, refresh()))

    for number in range(30):
        await asks()
        await counts(joined=number % 3 > 0)
    last = await pool.fetchrow("SELECT id, command FROM jobs WHERE finished_at IS NULL")
    if last:
        versions = {"hired_employees": version, "departments": 0}
        await hear(pool, refreshed(last["id"], versions, round_=last["command"].get("round", 1)))
    for job_id, wanted in requests:
        found = await body(pool, job_id)
        assert found.status == "succeeded"
        assert found.result.versions["hired_employees"] >= wanted


async def test_a_rebuild_reports_what_was_wrong(pool: Pool, analytics: Analytics) -> None:
    await analytics.prepare("hired_employees")
    one = await ask(pool, rebuild())
    event = RollupRebuilt(dataset="hired_employees", job_id=one.job.id, rollup="hires", version=4, groups=9, mended=2)
    assert [type(message) for message in await hear(pool, event)] == [JobStarted, JobSucceeded]
    found = await body(pool, one.job.id)
    assert isinstance(found, RebuildJobBody)
    assert (found.rollup, found.version, msgspec.to_builtins(found.result)) == ("hires", 4, {"groups": 9, "mended": 2})
    async with pool.acquire() as db:
        assert await select_last_rebuild(db, "hired_employees", "hires") == one.job.id
        stands = await select_rollup(db, "hired_employees", DATASETS["hired_employees"].rollups[0])
    assert stands.columns == ("hired_at_year", "hired_at_quarter", "department_id", "job_id", "hires")


async def test_progress_is_reported_between_rounds(pool: Pool, admin: asyncpg.Connection) -> None:
    await set_version(admin, "departments", 3)
    one = await ask(pool, refresh())
    messages: list[Any] = []
    for round_ in (1, 2):
        messages = await hear(pool, refreshed(one.job.id, {"hired_employees": 0, "departments": 0}, round_=round_))
        assert messages[-1].round == round_ + 1
        await admin.execute("UPDATE gateway.jobs SET announced_at = announced_at - interval '2 seconds'")
    assert JobProgress in [type(message) for message in messages]
