"""Exclusive jobs on Postgres: one sync per source at a time; requests meanwhile attach to it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from services.gateway.http.problems import Problem
from services.gateway.jobs import exclusive
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.submit import Submission, submit_jobs, uuid7
from services.gateway.sources.syncs import sync_request
from shared.contracts.commands import PlanImport, PullPage
from shared.contracts.parts import Dialect
from shared.db import Connection, Pool, transaction
from tests.integration.ingestor_runner import connected, somebody_waits

ROUNDS = 30


@pytest.fixture
async def pool(database: dict[str, str]) -> AsyncIterator[Pool]:
    async with connected(database["gateway"], "tests", 8) as pool:
        await pool.execute("INSERT INTO api_keys VALUES ('k', 'k', '', 'write')")
        yield pool


def sync(source: str = "crm", key: str | None = None) -> JobRequest:
    command = PullPage(dataset="people", job_id=uuid7(), source=source, chunk=1)
    return sync_request(command, "upsert", api_key="k", idempotency_key=key)


def file(key: str | None = None) -> JobRequest:
    dialect = Dialect(columns=("id",), header=False)
    command = PlanImport(dataset="people", job_id=uuid7(), file="f", sha256="", bytes_total=1, dialect=dialect)
    return JobRequest(
        kind="import", command=command, mode="upsert", api_key="k", idempotency_key=key, fingerprint="f", bytes_total=1
    )


async def ask(pool: Pool, *requests: JobRequest) -> list[Submission | Problem]:
    async with transaction(pool) as db:
        return await submit_jobs(db, requests)


async def ask_one(pool: Pool, request: JobRequest) -> Submission:
    (accepted,) = await ask(pool, request)
    assert isinstance(accepted, Submission), accepted
    return accepted


async def end(pool: Pool, job_id: UUID) -> None:
    await pool.execute("UPDATE jobs SET status = 'succeeded', finished_at = now() WHERE id = $1", job_id)


async def count(pool: Pool, table: str) -> int:
    number: int = await pool.fetchval(f"SELECT count(*) FROM {table}")
    return number


def flags(accepted: Submission | Problem, job_id: UUID) -> tuple[bool, bool, bool]:
    """Whether it is that job, whether it is marked as replayed, and whether as attached."""
    assert isinstance(accepted, Submission), accepted
    return accepted.job.id == job_id, accepted.replayed, accepted.attached


async def test_who_asks_while_a_sync_is_under_way_is_given_that_one(pool: Pool) -> None:
    first = await ask_one(pool, sync())
    assert (first.replayed, first.attached) == (False, False)
    await pool.execute("UPDATE jobs SET status = 'running'")
    assert flags(await ask_one(pool, sync()), first.job.id) == (True, False, True)
    assert (await ask_one(pool, sync("shop"))).attached is False
    assert await count(pool, "jobs") == await count(pool, "events") == 2
    await end(pool, first.job.id)
    assert flags(await ask_one(pool, sync()), first.job.id) == (False, False, False)


async def test_in_a_group_nobody_is_hindered_by_a_sync_that_attaches(pool: Pool) -> None:
    request = [file(), sync(), sync("shop"), file("a"), sync(), file()]
    accepted = await ask(pool, *request)
    begun = [one.command.job_id for one in request]
    assert [flags(one, job_id) for one, job_id in zip(accepted, begun, strict=True)] == [
        *[(True, False, False)] * 4,
        (False, False, True),
        (True, False, False),
    ]
    assert flags(accepted[4], begun[1])[0]
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE name = 'plan_import'") == 3
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE name = 'pull_page'") == 2
    assert await count(pool, "events") == await count(pool, "jobs") == 5


async def test_however_many_ask_at_once_one_sync_begins(pool: Pool) -> None:
    for number in range(ROUNDS):
        answers = await asyncio.gather(*(ask(pool, sync(), file()) for _ in range(8)))
        syncs_told = [one for one, _ in answers]
        begun = {one.job.id for one in syncs_told if isinstance(one, Submission)}
        assert len(begun) == 1, f"round {number}"
        assert [isinstance(one, Submission) and one.attached for one in syncs_told].count(False) == 1
        await end(pool, begun.pop())
    assert await pool.fetchval("SELECT count(*) FROM jobs WHERE kind = 'sync'") == ROUNDS
    assert await pool.fetchval("SELECT count(*) FROM jobs WHERE kind = 'import'") == 8 * ROUNDS


async def test_a_sync_that_ends_while_somebody_attaches_to_it_is_not_given_any_more(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask_one(pool, sync())
    select_running = exclusive.select_running

    async def ends_first(db: Connection, one: JobRequest) -> UUID | None:
        await end(pool, first.job.id)
        return await select_running(db, one)

    monkeypatch.setattr(exclusive, "select_running", ends_first)
    request = sync()
    assert flags(await ask_one(pool, request), request.command.job_id) == (True, False, False)
    assert await count(pool, "events") == 2


async def test_a_key_stands_for_the_sync_that_it_was_answered_with(pool: Pool) -> None:
    first = await ask_one(pool, sync(key="begins"))
    assert flags(await ask_one(pool, sync(key="attaches")), first.job.id) == (True, False, True)
    for _ in range(2):
        assert flags(await ask_one(pool, sync(key="begins")), first.job.id) == (True, True, False)
        assert flags(await ask_one(pool, sync(key="attaches")), first.job.id) == (True, True, True)
        await end(pool, first.job.id)
    (other,) = await ask(pool, sync("shop", key="attaches"))
    assert isinstance(other, Problem)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert await count(pool, "jobs") == 1


async def test_of_two_with_one_key_the_second_waits_for_the_answer_of_the_first(pool: Pool) -> None:
    first = await ask_one(pool, sync())
    async with transaction(pool) as db:
        (attached,) = await submit_jobs(db, [sync(key="k")])
        assert flags(attached, first.job.id) == (True, False, True)
        second = asyncio.create_task(ask_one(pool, sync(key="k")))
        await somebody_waits(pool)
        await end(pool, first.job.id)
    assert flags(await second, first.job.id) == (True, True, True)


async def test_a_request_whose_commit_passed_unheard_of_is_not_accepted_twice(pool: Pool) -> None:
    for request in (file(), file("k1"), sync(), sync("shop", key="k2")):
        before = await ask_one(pool, request)
        again = await ask_one(pool, request)
        assert flags(again, before.job.id) == (True, False, False)
    assert await count(pool, "jobs") == await count(pool, "events") == 4


async def test_the_one_that_may_run_beside_others_attaches_to_none(pool: Pool) -> None:
    first = await ask_one(pool, sync())
    for _ in range(2):
        command = PullPage(dataset="people", job_id=uuid7(), source="crm", chunk=1)
        beside = sync_request(command, "upsert", api_key=None, idempotency_key=None, overlap=True)
        assert flags(await ask_one(pool, beside), command.job_id) == (True, False, False)
    assert flags(await ask_one(pool, sync()), first.job.id) == (True, False, True)
