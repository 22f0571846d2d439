"""Recovery of lost messages, giving up and redriving, on a service for tests."""

import asyncio
import datetime as dt
from uuid import uuid4

import aio_pika
import asyncpg
import pytest

from shared.bus import failures, ledger, queue_progress, recovery
from shared.bus.dead_letters import discard, redrive
from shared.bus.failures import NotReady, PermanentFailure
from shared.bus.ledger import OpenMessage
from shared.bus.recovery import Recovery
from shared.contracts.dead_letter_events import DiscardRequested, RedriveRequested
from shared.contracts.message import Message
from shared.contracts.parts import Problem
from shared.db import transaction
from shared.db.locks import try_lock
from shared.retention import ledger as retention_of_ledger
from tests.integration.probe_service import SECONDS, SERVICE, SINGLY, Probe, to_envelope
from tests.integration.test_delivery import at_ease, failing, waiting_for
from tests.waiting import eventually

QUICK = 0.02
USELESS = Problem(code="no_use", detail="It will never work.")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery looks when a test says so, and takes a tenth of a second for a long time."""
    monkeypatch.setattr(recovery, "OVERTAKEN_SECONDS", 0.1)
    monkeypatch.setattr(recovery, "INTERVAL_SECONDS", 1000.0)
    monkeypatch.setattr(recovery, "SLACK", dt.timedelta(0))
    monkeypatch.setattr(queue_progress, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(failures, "backoff", lambda _attempt: QUICK)
    monkeypatch.setattr(failures, "pause", lambda _created_at, _limits: QUICK)


@pytest.fixture
def recoverer(probe: Probe) -> Recovery:
    consumer = probe.consumer
    return Recovery(SERVICE, consumer.pool, consumer.relay, consumer.publisher, consumer.handlings)


async def lose(probe: Probe, message: Message) -> None:
    """Inserts the message as sent, though it never was: its broker has lost its disk."""
    async with transaction(probe.consumer.pool) as db:
        await db.execute(
            "INSERT INTO gateway.outbox (id, name, dataset, subject, command, mandatory, receivers, data, sent_at)"
            " VALUES ($1, $2, 'marks', $3, true, true, ARRAY['probe'], $4, now())",
            message.id,
            message.name(),
            str(probe.job_id),
            message.encode(),
        )


async def found(recoverer: Recovery) -> list[OpenMessage]:
    """Looks until there is something."""
    return await eventually(recoverer.look, SECONDS)


async def test_a_lost_message_is_sent_again_when_the_queue_is_empty(probe: Probe, recoverer: Recovery) -> None:
    await lose(probe, probe.touch(1))
    assert [message.id for message in await found(recoverer)] == [probe.touch(1).id]
    await probe.handled(1)
    await probe.is_idle()
    assert await recoverer.look() == []
    assert await probe.marks() == {1: 1}


async def test_a_lost_message_is_sent_again_under_traffic(probe: Probe, recoverer: Recovery) -> None:
    block = asyncio.Event()
    probe.script.steps = [at_ease, *[waiting_for(block)] * 3]
    await lose(probe, probe.touch(1))
    await probe.say(probe.touch(2))
    await probe.handled(2)
    # The queue is never empty from now on: some messages are being handled and the others wait.
    await probe.say(*(probe.touch(number) for number in (3, 4, 5, 6)))
    await probe.called(2)
    try:
        assert [message.id for message in await found(recoverer)] == [probe.touch(1).id]
    finally:
        block.set()
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == dict.fromkeys(range(1, 7), 1)


async def test_what_waits_in_the_queue_is_not_lost(probe: Probe, recoverer: Recovery) -> None:
    block = asyncio.Event()
    probe.script.steps = [at_ease, *[waiting_for(block)] * 3]
    await probe.say(probe.touch(1))
    await probe.handled(1)
    await probe.say(*(probe.touch(number) for number in (2, 3, 4, 5)))
    await probe.called(2)
    await looked(recoverer, 10)
    block.set()
    await probe.is_idle()


async def looked(recoverer: Recovery, times: int) -> None:
    """Looks so often, for longer than recovery waits, and finds nothing."""
    for _ in range(times):
        assert await recoverer.look() == []
        async with recoverer._pool.acquire() as db:
            await db.execute("SELECT pg_sleep(0.05)")


@pytest.mark.parametrize("probe", [SINGLY], indirect=True)
async def test_what_is_being_handled_is_not_lost(probe: Probe, recoverer: Recovery) -> None:
    block = asyncio.Event()
    probe.script.steps = [waiting_for(block), at_ease]
    await probe.say(probe.touch(1))
    await probe.called(1)
    await probe.say(probe.touch(2))
    await probe.handled(2)  # which overtakes it
    await looked(recoverer, 10)
    block.set()
    await probe.is_idle()
    assert await probe.marks() == {1: 1, 2: 1}


async def test_what_waits_for_a_retry_is_not_lost(
    probe: Probe, recoverer: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: 600.0)
    probe.script.steps = [failing(ValueError("later")), at_ease]
    await probe.say(probe.touch(1))
    await eventually(probe.outbox_messages, SECONDS)
    await probe.say(probe.touch(2))
    await probe.handled(2)
    await looked(recoverer, 10)


async def test_a_copy_that_is_lost_too_is_sent_once_more(probe: Probe, recoverer: Recovery) -> None:
    await lose(probe, probe.touch(1))
    await probe.consumer.pool.execute("INSERT INTO resent VALUES ($1)", probe.touch(1).id)
    await found(recoverer)
    await probe.handled(1)


async def test_one_replica_at_a_time_looks(probe: Probe, recoverer: Recovery) -> None:
    await lose(probe, probe.touch(1))
    async with transaction(probe.consumer.pool) as db:
        assert await try_lock(db, ledger.RECOVERY_LOCK, SERVICE)
        await looked(recoverer, 5)
    await found(recoverer)


async def test_an_ended_message_leaves_its_sender_s_outbox(probe: Probe) -> None:
    await probe.say(probe.touch(1))
    await probe.handled(1)

    async def gone() -> bool:
        return bool(await probe.consumer.pool.fetchval("SELECT count(*) = 0 FROM outbox"))

    await eventually(gone, SECONDS)


async def test_a_message_stays_until_every_receiver_has_ended_it(probe: Probe) -> None:
    async with transaction(probe.consumer.pool) as db:
        await db.execute(
            "INSERT INTO outbox (id, name, dataset, subject, command, mandatory, receivers, data, sent_at)"
            " VALUES ($1, 'chunk.loaded', 'marks', '', false, true, '{indexer,analytics}', '', now())",
            probe.touch().id,
        )
        for receiver, deleted in (("indexer", 0), ("analytics", 1)):
            await db.execute(f"INSERT INTO {receiver}.inbox (id, name) VALUES ($1, 'chunk.loaded')", probe.touch().id)
            assert await ledger.delete_ended(db, SERVICE) == deleted


@pytest.mark.parametrize("days", [1, 100])
async def test_what_was_given_up_stays_given_up_for_ever(probe: Probe, recoverer: Recovery, days: int) -> None:
    probe.script.steps = [failing(PermanentFailure(USELESS)), at_ease]
    await probe.say(probe.touch(1))
    assert await probe.gave_up() == USELESS
    for table, column in (("inbox", "done_at"), ("dead_letters", "died_at"), ("attempts", "began_at")):
        await probe.consumer.pool.execute(f"UPDATE {table} SET {column} = {column} - $1 * interval '1 day'", days)
    async with transaction(probe.consumer.pool) as db:
        for retention in retention_of_ledger(SERVICE):
            await retention.delete(db, 0, None)
        await ledger.delete_ended(db, SERVICE)
    await looked(recoverer, 10)
    await probe.deliver(probe.touch(1))
    await probe.is_idle()
    assert probe.script.calls == 1
    assert await probe.consumer.pool.fetchval("SELECT state FROM dead_letters") == "dead"


async def settle(probe: Probe, event: RedriveRequested | DiscardRequested) -> None:
    async with transaction(probe.consumer.pool) as db:
        await (redrive(event, db) if isinstance(event, RedriveRequested) else discard(event, db))
    probe.consumer.relay.wake()


async def test_a_redrive_undoes_the_giving_up(probe: Probe) -> None:
    probe.script.steps = [failing(PermanentFailure(USELESS)), failing(PermanentFailure(USELESS)), at_ease]
    await probe.say(probe.touch(1))
    await probe.gave_up()
    request = RedriveRequested(dataset="", request_id=uuid4(), ids=(probe.touch(1).id, uuid4()))
    await settle(probe, request)

    async def again() -> bool:
        return len(probe.script.problems[probe.job_id]) == 2

    await eventually(again, SECONDS)  # each time is a failure of its own
    await settle(probe, request)
    await probe.handled(1)
    await probe.is_idle()
    row = await probe.consumer.pool.fetchrow("SELECT state, redriven FROM dead_letters")
    assert row is not None
    assert tuple(row) == ("redriven", 2)
    await settle(probe, request)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}


async def test_a_redriven_message_that_is_lost_is_found(probe: Probe, recoverer: Recovery) -> None:
    probe.script.steps = [failing(PermanentFailure(USELESS)), at_ease]
    await probe.say(probe.touch(1))
    await probe.gave_up()
    async with transaction(probe.consumer.pool) as db:
        await redrive(RedriveRequested(dataset="", request_id=uuid4(), ids=(probe.touch(1).id,)), db)
        await db.execute("UPDATE outbox SET sent_at = now() WHERE queue <> ''")
    await found(recoverer)
    await probe.handled(1)


async def test_a_discarded_message_stays_ended(probe: Probe) -> None:
    probe.script.steps = [failing(PermanentFailure(USELESS)), at_ease]
    await probe.say(probe.touch(1))
    await probe.gave_up()
    ids = (probe.touch(1).id,)
    await settle(probe, DiscardRequested(dataset="", request_id=uuid4(), ids=ids))
    await settle(probe, RedriveRequested(dataset="", request_id=uuid4(), ids=ids))
    await probe.is_idle()
    assert await probe.consumer.pool.fetchval("SELECT state FROM dead_letters") == "discarded"
    assert probe.script.calls == 1


LATER = [
    asyncpg.DiskFullError("no space left on device"),
    asyncpg.OutOfMemoryError("out of memory"),
    asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
    asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
    asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
    TimeoutError(),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("error", LATER, ids=lambda error: type(error).__name__)
async def test_not_now_uses_up_no_attempts(probe: Probe, error: Exception) -> None:
    often = 2 * failures.MAX_ATTEMPTS
    probe.script.steps = [*[failing(error)] * often, at_ease]
    await probe.say(probe.touch())
    await probe.handled(1)
    await probe.is_idle()
    assert probe.script.calls == often + 1
    assert probe.script.problems == {}
    assert await probe.consumer.pool.fetchval("SELECT count(*) FROM attempts") == 0


async def test_a_failed_attempt_is_recorded_with_worker_and_error(probe: Probe) -> None:
    probe.script.steps = [failing(ValueError("once")), failing(NotReady()), failing(ValueError("twice")), at_ease]
    await probe.say(probe.touch())
    await probe.handled(1)
    await probe.is_idle()
    rows = await probe.consumer.pool.fetch("SELECT number, name, job_id, worker, problem FROM attempts ORDER BY number")
    assert [(row["number"], row["name"], row["job_id"]) for row in rows] == [
        (number, "touch", probe.job_id) for number in (1, 2)
    ]
    assert [row["problem"]["detail"] for row in rows] == [
        "ValueError: once (after 1 attempts)",
        "ValueError: twice (after 2 attempts)",
    ]
    assert all(":" in row["worker"] for row in rows)


async def crash(probe: Probe, times: int) -> None:
    """What deliveries leave behind that killed their process."""
    async with transaction(probe.consumer.pool) as db:
        for _ in range(times):
            await db.execute(
                "INSERT INTO attempts (message_id, number, name, worker)"
                " SELECT $1, count(*) + 1, 'touch', 'gone' FROM attempts",
                probe.touch().id,
            )


async def redeliver(probe: Probe) -> None:
    """Publishes a message as the broker delivers it after a crash."""
    async with probe._broker.channel() as channel:
        await channel.default_exchange.publish(
            aio_pika.Message(to_envelope(probe.touch(), subject=str(probe.job_id)), headers={"x-delivery-count": 1}),
            routing_key=probe.queue,
        )


@pytest.mark.parametrize("crashes", [0, 3])
async def test_a_message_that_killed_its_process_is_handled_again(probe: Probe, crashes: int) -> None:
    await crash(probe, crashes)
    await redeliver(probe)
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.consumer.pool.fetchval("SELECT count(*) FROM attempts") == crashes


async def test_a_message_that_kills_its_process_is_given_up_after_five_deliveries(probe: Probe) -> None:
    await crash(probe, 4)
    await redeliver(probe)
    assert (await probe.gave_up()).code == "poison"
    assert probe.script.calls == 0
    assert await probe.consumer.pool.fetchval("SELECT reason FROM dead_letters") == "poison"
