"""Group commit of requests: one transaction accepts many, and each gets its own answer."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from litestar import Litestar

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem
from services.gateway.jobs import event_log
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.submit import JobSubmitter, Submission
from services.gateway.jobs.waiters import JobWaiters
from shared.bus.relay import Relay
from shared.consumer import Consumer
from shared.contracts.commands import LoadRows
from shared.contracts.parts import LoadOptions
from shared.settings import ServiceSettings

NOWHERE = "amqp://nobody@127.0.0.1:1/"
MANY = 200


@pytest.fixture
async def submitter(database: dict[str, str]) -> AsyncIterator[JobSubmitter]:
    """Of a gateway that has its Postgres, but no broker."""
    settings = ServiceSettings(database_url=database["gateway"], broker_url=NOWHERE)
    consumer = Consumer("gateway", (), settings=settings, dependencies={})
    async with consumer.running(Litestar([])):
        await consumer.pool.execute("INSERT INTO api_keys (id, name, hash, scope) VALUES ('k', 'k', '', 'write')")
        yield JobSubmitter(consumer, Catalog(), JobWaiters(consumer))


def batch(number: int, *, key: str | None = None, api_key: str = "k", fingerprint: str = "f") -> JobRequest:
    row = msgspec.Raw(msgspec.json.encode({"id": number}))
    command = LoadRows(dataset="departments", job_id=uuid4(), rows=(row,), columns=("id",), load_options=LoadOptions())
    return JobRequest(
        kind="rows",
        command=command,
        mode="upsert",
        api_key=api_key,
        idempotency_key=key,
        fingerprint=fingerprint,
        bytes_total=len(bytes(row)),
        chunks=1,
    )


async def ask(submitter: JobSubmitter, *requests: JobRequest) -> list[Submission | BaseException]:
    """All at once."""
    return await asyncio.gather(*map(submitter.submit, requests), return_exceptions=True)


async def jobs(submitter: JobSubmitter) -> set[UUID]:
    """Of which there are the job, its first event and its command."""
    await event_log.run(submitter.pool)
    events = await submitter.pool.fetch("SELECT id, job_id FROM events WHERE type = 'job.created' ORDER BY id")
    assert [row["id"] for row in events] == list(range(1, len(events) + 1))
    found = {row["id"] for row in await submitter.pool.fetch("SELECT id FROM jobs")}
    assert {row["job_id"] for row in events} == found
    commands = await submitter.pool.fetch("SELECT subject FROM outbox WHERE name = 'load_rows'")
    assert sorted(row["subject"] for row in commands) == sorted(map(str, found))
    return found


async def test_two_hundred_requests_share_a_few_transactions(submitter: JobSubmitter) -> None:
    requests = [batch(number) for number in range(MANY)]
    answers = await ask(submitter, *requests)
    assert [answer.job.id for answer in answers if isinstance(answer, Submission)] == [
        one.command.job_id for one in requests
    ]
    assert await jobs(submitter) == {one.command.job_id for one in requests}
    assert await submitter.pool.fetchval("SELECT count(DISTINCT xmin::text) FROM jobs") <= 3
    # Who comes later is not forgotten.
    assert isinstance(await submitter.submit(batch(0)), Submission)


async def test_a_replay_does_not_wake_the_relay(submitter: JobSubmitter, monkeypatch: pytest.MonkeyPatch) -> None:
    wakes: list[Relay] = []

    def note(relay: Relay) -> None:
        wakes.append(relay)

    monkeypatch.setattr(Relay, "wake", note)
    await submitter.submit(batch(0, key="once"))
    assert len(wakes) == 1
    assert (await submitter.submit(batch(0, key="once"))).replayed
    assert len(wakes) == 1


async def test_of_requests_with_one_idempotency_key_one_is_accepted(submitter: JobSubmitter) -> None:
    requests = [batch(number // 4, key=f"key {number // 4}", fingerprint=f"{number // 4}") for number in range(MANY)]
    requests[7] = batch(0, key="key 1", fingerprint="something else")
    answers = await ask(submitter, *requests)
    accepted = [answer for answer in answers if isinstance(answer, Submission)]
    (refused,) = (answer for answer in answers if isinstance(answer, Problem))
    assert (answers.index(refused), refused.status, refused.code) == (7, 422, "idempotency_key_reused")
    first = {answer.job.id for answer in accepted if not answer.replayed}
    assert len(first) == MANY // 4
    assert await jobs(submitter) == first == {answer.job.id for answer in accepted}


async def test_one_that_postgres_refuses_costs_the_others_nothing(submitter: JobSubmitter) -> None:
    requests = [batch(number, key=f"key {number // 2}", fingerprint="f") for number in range(20)]
    requests[5] = batch(5, api_key="revoked and deleted meanwhile")
    answers = await ask(submitter, *requests)
    (refused,) = (answer for answer in answers if not isinstance(answer, Submission))
    assert answers.index(refused) == 5
    assert isinstance(refused, asyncpg.ForeignKeyViolationError)
    assert len(await jobs(submitter)) == 10


async def test_who_does_not_wait_for_the_answer_is_accepted_and_nobody_hindered(submitter: JobSubmitter) -> None:
    gone, stays = batch(1), batch(2)
    tasks = [asyncio.create_task(submitter.submit(one)) for one in (gone, stays)]
    await asyncio.sleep(0)  # both are in the group now
    tasks[0].cancel()
    assert isinstance(await tasks[1], Submission)
    assert await jobs(submitter) == {gone.command.job_id, stays.command.job_id}
