"""Requests that wait for a job: woken by the transaction that ends it, or by a look if it ends elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from litestar import Litestar

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem
from services.gateway.jobs import follow, queries, waiters
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.respond import respond
from services.gateway.jobs.submit import JobSubmitter, Submission
from services.gateway.jobs.waiters import JobWaiters
from shared.bus import outbox
from shared.bus.routes import on
from shared.consumer import Consumer
from shared.contracts.commands import LoadRows
from shared.contracts.message import Command
from shared.contracts.parts import LoadOptions
from shared.db import Connection, transaction
from shared.settings import ServiceSettings
from tests.integration.probe_service import queues
from tests.stack import Stack
from tests.waiting import eventually

SECONDS = 20.0
NEVER = 3600.0


class EndJob(Command, frozen=True, kw_only=True, omit_defaults=True):
    """End the job."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)
    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID


async def end_job(command: EndJob, db: Connection) -> JobEvents:
    return await follow.succeed(db, command.job_id, 7)


ROUTES = (on(EndJob, end_job, then=JobEvents),)


@pytest.fixture
async def submitter(stack: Stack, database: dict[str, str]) -> AsyncIterator[JobSubmitter]:
    """Of a gateway that consumes one command, which ends a job."""
    url = stack.env["BROKER_URL"]
    consumer = Consumer(
        "gateway",
        ROUTES,
        settings=ServiceSettings(database_url=database["gateway"], broker_url=url),
        dependencies={},
        committed=lambda messages: found.wake(messages),  # noqa: PLW0108 - the waiters need the consumer
    )
    found = JobWaiters(consumer)
    broker = await aio_pika.connect(url)
    async with broker, queues(broker, url, "gateway", ROUTES), consumer.running(Litestar([])):
        yield JobSubmitter(consumer, Catalog(), found)


async def submit(submitter: JobSubmitter) -> Submission:
    command = LoadRows(
        dataset="items", job_id=uuid4(), rows=(msgspec.Raw(b"{}"),), columns=(), load_options=LoadOptions()
    )
    return await submitter.submit(
        JobRequest(
            kind="rows",
            command=command,
            mode="upsert",
            api_key=None,
            idempotency_key=None,
            fingerprint="",
            bytes_total=2,
            chunks=1,
        )
    )


async def is_waiting(submitter: JobSubmitter) -> bool:
    return bool(submitter.waiters._waiting)


async def test_the_transaction_that_ends_the_job_answers(
    submitter: JobSubmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "POLL_SECONDS", NEVER)
    submission = await submit(submitter)
    requests = [asyncio.create_task(respond(submitter, submission, "wait=60")) for _ in range(3)]
    async with transaction(submitter.pool) as db:
        await outbox.insert_messages(db, [EndJob(dataset="items", job_id=submission.job.id)])
    submitter._consumer.relay.wake()
    async with asyncio.timeout(SECONDS):
        answers = await asyncio.gather(*requests)
    assert [(answer.status_code, answer.content.status, answer.content.version) for answer in answers] == [
        (200, "succeeded", 7)
    ] * 3
    assert answers[0].headers["Preference-Applied"] == "wait=60"
    # It is the body that a later request gets.
    assert answers[0].content == await submitter.waiters.wait(submission.job.id, 0)
    assert not await is_waiting(submitter)


async def test_a_look_answers_if_the_job_ends_elsewhere(submitter: JobSubmitter) -> None:
    submission = await submit(submitter)
    request = asyncio.create_task(respond(submitter, submission, "wait=60"))
    other = await submit(submitter)
    await eventually(lambda: is_waiting(submitter), SECONDS)
    async with transaction(submitter.pool) as db:  # no hook hears of this commit
        await follow.succeed(db, submission.job.id, 7)
    async with asyncio.timeout(SECONDS):
        answer = await request
    assert (answer.status_code, answer.content.status) == (200, "succeeded")
    assert (await respond(submitter, other, "wait=0")).status_code == 202


async def test_looks_survive_an_error(submitter: JobSubmitter, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    select = queries.select_ended

    async def fail_once(db: Connection, job_ids: list[UUID]) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionResetError
        return await select(db, job_ids)

    monkeypatch.setattr(queries, "select_ended", fail_once)
    submission = await submit(submitter)
    request = asyncio.create_task(respond(submitter, submission, "wait=60"))
    await eventually(lambda: is_waiting(submitter), SECONDS)
    async with transaction(submitter.pool) as db:
        await follow.succeed(db, submission.job.id, 7)
    async with asyncio.timeout(SECONDS):
        assert (await request).status_code == 200
    assert calls > 1


async def test_it_waits_no_longer_than_the_client_wants(submitter: JobSubmitter) -> None:
    submission = await submit(submitter)
    job = await submitter.waiters.wait(submission.job.id, 0.01)
    assert job.status == "queued"
    with pytest.raises(Problem):
        await submitter.waiters.wait(uuid4(), 0.01)
    assert not await is_waiting(submitter)


async def test_a_process_that_stops_answers_at_once(submitter: JobSubmitter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "POLL_SECONDS", NEVER)
    submission = await submit(submitter)
    request = asyncio.create_task(respond(submitter, submission, "wait=60"))
    await eventually(lambda: is_waiting(submitter), SECONDS)
    submitter._consumer.stopping.set()
    async with asyncio.timeout(SECONDS):
        answer = await request
    assert answer.status_code == 202
    assert answer.content.status == "queued"
