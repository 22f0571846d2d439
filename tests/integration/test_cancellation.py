"""Commands of a canceled job are stopped wherever they are, and a redrive takes them up again."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.bus import failures
from shared.bus.dead_letters import redrive
from shared.contracts.dead_letter_events import RedriveRequested
from shared.contracts.events import WorkFailed
from shared.contracts.parts import Problem
from shared.db import transaction
from tests.integration.probe_service import SECONDS, Probe, Touch
from tests.integration.test_delivery import at_ease, failing, waiting_for
from tests.waiting import eventually


@pytest.fixture
async def admin(database: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database["admin"])
    await connection.execute("SET session_replication_role = replica")  # the job itself is not in the table
    yield connection
    await connection.close()


async def cancel(admin: asyncpg.Connection, job_id: UUID) -> None:
    await admin.execute("INSERT INTO gateway.cancellations (job_id, reason) VALUES ($1, 'requested')", job_id)


async def shelved(admin: asyncpg.Connection, *messages: Touch) -> None:
    """Waits until these are dead letters, and no others."""

    async def found() -> bool:
        rows = await admin.fetch("SELECT id, reason, state FROM probe.dead_letters")
        assert {(row["reason"], row["state"]) for row in rows} <= {("canceled", "dead")}
        return {row["id"] for row in rows} == {message.id for message in messages}

    await eventually(found, SECONDS)


async def test_a_running_handler_is_interrupted_and_rolled_back(probe: Probe, admin: asyncpg.Connection) -> None:
    probe.script.steps = [waiting_for(asyncio.Event())]
    await probe.say(probe.touch(1))
    await probe.called(1)
    await cancel(admin, probe.job_id)
    await shelved(admin, probe.touch(1))
    await probe.is_idle()
    assert (probe.script.cancelled, await probe.marks()) == (1, {})
    assert probe.script.problems == {}
    assert await admin.fetchval("SELECT count(*) FROM probe.attempts") == 0


async def test_commands_in_the_queue_are_shelved_and_those_of_other_jobs_are_not(
    probe: Probe, admin: asyncpg.Connection
) -> None:
    block = asyncio.Event()
    other = [Touch(dataset="marks", job_id=uuid4(), number=number) for number in (10, 11, 12)]
    probe.script.steps = [waiting_for(block)]
    await probe.say(*other[:2])
    await probe.called(1)
    await probe.say(probe.touch(1), probe.touch(2), other[2])
    await cancel(admin, probe.job_id)
    await shelved(admin, probe.touch(1), probe.touch(2))
    block.set()
    await probe.is_idle()
    assert await probe.marks() == {10: 1, 11: 1, 12: 1}


async def test_a_command_that_waits_to_be_sent_or_for_a_retry_is_shelved(
    probe: Probe, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: 1000.0)
    probe.script.steps = [failing(ValueError("once")), at_ease]
    await probe.say(probe.touch(1))

    async def waits() -> bool:
        return bool(await admin.fetchval("SELECT count(*) FROM probe.outbox WHERE due_at > now()"))

    await eventually(waits, SECONDS)
    await probe.unbind()
    await probe.say(probe.touch(2))
    await cancel(admin, probe.job_id)
    await shelved(admin, probe.touch(1), probe.touch(2))
    assert await admin.fetchval("SELECT attempts FROM probe.dead_letters WHERE id = $1", probe.touch(1).id) == 1
    await probe.bind()
    await admin.execute("UPDATE probe.outbox SET due_at = now()")
    await probe.is_idle()
    assert (probe.script.calls, await probe.marks()) == (1, {})


async def test_events_of_a_canceled_job_are_handled(probe: Probe, admin: asyncpg.Connection) -> None:
    await cancel(admin, probe.job_id)
    problem = Problem(code="no_use", detail="It will never work.")
    failed = WorkFailed(dataset="marks", job_id=probe.job_id, message_id=uuid4(), message="touch", problem=problem)
    await probe.deliver(failed)
    assert await probe.gave_up() == problem


async def test_a_redrive_takes_up_what_was_shelved(probe: Probe, admin: asyncpg.Connection) -> None:
    probe.script.steps = [waiting_for(asyncio.Event()), at_ease]
    await probe.say(probe.touch(1))
    await probe.called(1)
    await cancel(admin, probe.job_id)
    await shelved(admin, probe.touch(1))
    await admin.execute("DELETE FROM gateway.cancellations")
    async with transaction(probe.consumer.pool) as db:
        await redrive(RedriveRequested(dataset="", request_id=uuid4(), ids=(probe.touch(1).id,)), db)
    probe.consumer.relay.wake()
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
