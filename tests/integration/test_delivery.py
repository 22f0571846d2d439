"""Delivery from the outbox over the broker to a committed effect: exactly once, after repeats, errors and losses."""

import asyncio
import os
from collections.abc import Callable
from uuid import uuid4

import aiormq
import asyncpg
import msgspec
import pytest

from shared.bus import delivery, failures, groups, handling, outbox, publisher, relay
from shared.bus.failures import NotReady, PermanentFailure, TransientFailure
from shared.bus.outbox import OutboxMessage
from shared.bus.publisher import Publisher
from shared.bus.relay import Relay
from shared.contracts.envelope import MAX_BYTES
from shared.contracts.parts import Problem
from shared.db import Connection
from shared.telemetry import metrics
from tests.integration.probe_service import (
    SECONDS,
    SINGLY,
    Probe,
    Step,
    Touch,
    count,
    running,
    to_envelope,
    to_outbox_message,
)
from tests.integration.tcp_proxy import Proxy
from tests.stack import Stack
from tests.waiting import eventually

QUICK = 0.02
PUBLISHERS, CUTS = 10, 5
WAITED_FOR = (type(None), OSError, TimeoutError, aiormq.exceptions.AMQPError)


def failing(error: Exception) -> Step:
    """A step that raises."""

    async def fail(_command: Touch, _db: Connection) -> None:
        raise error

    return fail


def waiting_for(event: asyncio.Event) -> Step:
    """A step that takes until the event, and then asks Postgres once more."""

    async def wait(_command: Touch, db: Connection) -> None:
        await event.wait()
        await db.execute("SELECT 1")

    return wait


async def at_ease(_command: Touch, _db: Connection) -> None:
    """A step that does nothing."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pauses are over at once."""
    monkeypatch.setattr(failures, "backoff", lambda _attempt: QUICK)
    monkeypatch.setattr(failures, "pause", lambda _created_at, _limits: QUICK)
    monkeypatch.setattr(delivery, "UNAVAILABLE_SECONDS", QUICK)
    monkeypatch.setattr(handling, "UNAVAILABLE_SECONDS", QUICK)
    monkeypatch.setattr(groups, "UNAVAILABLE_SECONDS", QUICK)
    monkeypatch.setattr(relay, "UNROUTABLE_SECONDS", QUICK)
    monkeypatch.setattr(relay, "POLL_SECONDS", QUICK)


async def test_a_message_in_the_outbox_has_its_effect_once_and_leaves_the_outbox(probe: Probe) -> None:
    await probe.say(probe.touch(1), probe.touch(2))
    await probe.handled(1)
    await probe.handled(2)
    await probe.is_idle()
    assert await probe.marks() == {1: 1, 2: 1}


async def test_a_message_that_is_delivered_five_times_has_one_effect(probe: Probe) -> None:
    repeats = count(Touch, "duplicate")
    await probe.deliver(probe.touch(), times=5)

    async def all_came() -> bool:
        return count(Touch, "duplicate") == repeats + 4

    await eventually(all_came, SECONDS)
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 1


@pytest.mark.parametrize("probe", [SINGLY], indirect=True)
async def test_the_second_of_two_concurrent_deliveries_waits_for_the_first_and_is_skipped(probe: Probe) -> None:
    release = asyncio.Event()
    probe.script.steps = [waiting_for(release)]
    repeats = count(Touch, "duplicate")
    await probe.deliver(probe.touch(), times=2)
    await probe.called(1)
    await second_waits(probe)
    assert probe.script.calls == 1
    release.set()

    async def second_ended() -> bool:
        return count(Touch, "duplicate") == repeats + 1

    await eventually(second_ended, SECONDS)
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("probe", [SINGLY], indirect=True)
async def test_the_second_of_two_concurrent_deliveries_takes_over_when_the_first_fails(probe: Probe) -> None:
    release = asyncio.Event()

    async def fail_later(_command: Touch, _db: Connection) -> None:
        await release.wait()
        raise ValueError("the first one fails")

    probe.script.steps = [fail_later, at_ease]
    await probe.deliver(probe.touch(), times=2)
    await probe.called(1)
    await second_waits(probe)
    release.set()
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 2


async def second_waits(probe: Probe) -> None:
    """Until a backend waits for another one's row of the inbox."""

    async def waits() -> bool:
        return bool(
            await probe.consumer.pool.fetchval(
                "SELECT true FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO inbox%'"
            )
        )

    await eventually(waits, SECONDS)


async def test_a_handler_that_raises_is_tried_again_later_by_a_row_of_the_outbox(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: 60.0)
    probe.script.steps = [failing(ValueError("not today")), at_ease]
    await probe.deliver(probe.touch(1))
    (message,) = await eventually(probe.outbox_messages, SECONDS)
    assert (message["id"], message["queue"], message["attempt"]) == (probe.touch(1).id, probe.queue, 1)
    assert 50 < message["seconds"] <= 60
    assert await probe.marks() == {}  # the effect of the failed attempt is gone
    await probe.deliver(probe.touch(2))  # and what comes next does not wait behind it
    await probe.handled(2)
    assert await probe.marks() == {2: 1}


async def test_a_message_that_fails_again_while_its_next_try_waits_has_one_next_try(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "backoff", lambda attempt: 60.0 * (attempt + 1))
    probe.script.steps = [failing(ValueError("not today"))]
    await probe.deliver(probe.touch())
    await eventually(probe.outbox_messages, SECONDS)
    await probe.consumer.publisher.publish([to_outbox_message(probe.touch(), attempt=2)])

    async def is_later() -> bool:
        return any(message["attempt"] == 3 for message in await probe.outbox_messages())

    await eventually(is_later, SECONDS)
    (message,) = await probe.outbox_messages()
    assert 170 < message["seconds"] <= 180


def test_the_pauses_between_attempts_double_and_differ() -> None:
    for attempt, seconds in enumerate((1, 2, 4, 8, 16, 32, 60, 60)):
        pauses = {failures.backoff(attempt) for _ in range(50)}
        assert len(pauses) > 1
        assert all(0.8 * seconds <= pause <= 1.2 * seconds for pause in pauses)


@pytest.mark.usefixtures("quick")
async def test_a_handler_that_fails_twice_has_one_effect_in_the_end(probe: Probe) -> None:
    probe.script.steps = [failing(ValueError("once")), failing(ValueError("twice")), at_ease]
    await probe.say(probe.touch())
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 3
    assert probe.script.problems == {}


@pytest.mark.usefixtures("quick")
async def test_after_the_last_attempt_the_job_gets_the_cause(probe: Probe) -> None:
    probe.script.steps = [failing(ZeroDivisionError("the cause"))]
    await probe.say(probe.touch())
    problem = await probe.gave_up()
    await probe.is_idle()
    assert problem.code == "gave_up"
    assert problem.detail.startswith("ZeroDivisionError: the cause")
    assert probe.script.calls == failures.MAX_ATTEMPTS
    assert await probe.marks() == {}
    await probe.deliver(probe.touch())  # what was given up stays given up
    await probe.is_idle()
    assert probe.script.calls == failures.MAX_ATTEMPTS
    assert len(probe.script.problems[probe.job_id]) == 1


async def test_permanent_gives_up_at_once_with_its_own_problem(probe: Probe) -> None:
    problem = Problem(code="no_use", detail="It will never work.", hint="Do something else.")
    probe.script.steps = [failing(PermanentFailure(problem))]
    await probe.say(probe.touch())
    assert await probe.gave_up() == problem
    await probe.is_idle()
    assert probe.script.calls == 1
    assert await probe.marks() == {}


SOURCE_DOWN = Problem(code="source_unavailable", detail="It answered 503.")


@pytest.mark.parametrize(("seconds", "waits"), [(None, 60), (0, 60), (45, 60), (300, 300), (86_400, 900)])
async def test_who_outside_asks_to_come_later_is_not_come_to_before(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, seconds: float | None, waits: float
) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: 60.0)
    probe.script.steps = [failing(TransientFailure(seconds, SOURCE_DOWN))]
    await probe.deliver(probe.touch())
    (message,) = await eventually(probe.outbox_messages, SECONDS)
    assert (message["id"], message["queue"], message["attempt"]) == (probe.touch().id, probe.queue, 1)
    assert waits - 10 < message["seconds"] <= waits
    assert await probe.marks() == {}


@pytest.mark.usefixtures("quick")
async def test_a_retry_later_counts_as_an_attempt_and_ends_with_the_source_s_problem(probe: Probe) -> None:
    probe.script.steps = [failing(TransientFailure(0, SOURCE_DOWN))]
    await probe.say(probe.touch())
    assert await probe.gave_up() == SOURCE_DOWN
    await probe.is_idle()
    assert probe.script.calls == failures.MAX_ATTEMPTS


async def test_a_copy_of_a_message_takes_no_attempts_back(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: 60.0)
    probe.script.steps = [failing(TransientFailure(None, SOURCE_DOWN))]
    await probe.consumer.publisher.publish([to_outbox_message(probe.touch(), attempt=3)])
    await eventually(probe.outbox_messages, SECONDS)
    await probe.deliver(probe.touch())  # as recovery sends it, which knows nothing of attempts
    await probe.called(2)

    async def is_settled() -> bool:
        return not any(delivery.running for delivery in probe.consumer.deliveries)

    await eventually(is_settled, SECONDS)
    assert [message["attempt"] for message in await probe.outbox_messages()] == [4]


@pytest.mark.usefixtures("quick")
async def test_being_postponed_is_no_attempt(probe: Probe) -> None:
    often = 2 * failures.MAX_ATTEMPTS
    probe.script.steps = [*[failing(NotReady())] * often, at_ease]
    await probe.say(probe.touch())
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == often + 1
    assert probe.script.problems == {}


@pytest.mark.usefixtures("quick")
async def test_two_that_collided_try_again_at_once_without_an_attempt(probe: Probe) -> None:
    probe.script.steps = [failing(asyncpg.DeadlockDetectedError("met")), at_ease]
    retried = count(Touch, "retried")
    await probe.say(probe.touch())
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 2
    assert count(Touch, "retried") == retried


@pytest.mark.usefixtures("quick")
async def test_work_that_collides_again_and_again_is_given_up_like_any_other(probe: Probe) -> None:
    probe.script.steps = [failing(asyncpg.DeadlockDetectedError("met for ever"))]
    await probe.say(probe.touch())
    problem = await probe.gave_up()
    assert problem.detail.startswith("DeadlockDetectedError: met for ever")
    assert probe.script.calls == failures.MAX_ATTEMPTS * (handling.MAX_CONFLICTS + 1)


TOUCH = Touch(dataset="marks", job_id=uuid4(), number=1)
NESTED = b"[" * 100_000 + b"]" * 100_000
STRANGE: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: b"{",
    "nothing": lambda: b"",
    "no envelope": TOUCH.encode,
    "no UTF-8": lambda: to_envelope(TOUCH).replace(b"marks", b"\xff\xfe"),
    "nested too deeply": lambda: to_envelope(TOUCH)[:-1] + b',"more":' + NESTED + b"}",
    "an id that is none": lambda: to_envelope(TOUCH, id="7"),
    "another type": lambda: to_envelope(TOUCH, type="load_chunk"),
    "too large": lambda: to_envelope(TOUCH) + b" " * MAX_BYTES,
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_a_message_that_cannot_be_read_is_a_dead_letter_at_once(stack: Stack, probe: Probe, strange: str) -> None:
    body, dead = STRANGE[strange](), count(Touch, "dead")
    await probe.post(body)
    await take_dead(stack, body)
    assert probe.script.calls == 0
    assert count(Touch, "dead") == dead + 1
    await probe.deliver(probe.touch(2))  # and the queue goes on
    await probe.handled(2)


async def take_dead(stack: Stack, body: bytes) -> None:
    """Waits for the body among the dead letters of the stack's gateway, and takes it from there."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])

    async def taken() -> bool:
        status = await db.execute("DELETE FROM gateway.dead_letters WHERE data = $1 AND queue LIKE 'probe.%'", body)
        return status == "DELETE 1"

    try:
        await eventually(taken, SECONDS)
    finally:
        await db.close()


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "another id than its content has": lambda: to_envelope(TOUCH, id=str(uuid4())),
    "a field of another type": lambda: to_envelope(
        TOUCH, data={"dataset": "marks", "job_id": str(uuid4()), "number": "1"}
    ),
    "a field that is missing": lambda: to_envelope(TOUCH, data={"dataset": "marks", "number": 1}),
}


@pytest.mark.parametrize("unreadable", UNREADABLE)
async def test_a_message_whose_envelope_alone_can_be_read_is_given_up_for_its_job(
    probe: Probe, unreadable: str
) -> None:
    body = UNREADABLE[unreadable]()
    sent = msgspec.json.decode(body)
    await probe.post(msgspec.json.encode({**sent, "subject": str(probe.job_id)}))
    problem = await probe.gave_up()
    assert problem.code == "undecodable"
    row = await probe.consumer.pool.fetchrow("SELECT * FROM dead_letters")
    assert row is not None
    assert (str(row["id"]), row["reason"], row["state"]) == (sent["id"], "undecodable", "dead")
    assert msgspec.json.decode(row["data"]) == sent["data"]
    assert probe.script.calls == 0


async def test_the_largest_message_that_is_allowed_is_handled(probe: Probe) -> None:
    body = to_envelope(probe.touch())
    await probe.post(body + b" " * (MAX_BYTES - len(body)))
    await probe.handled(1)


@pytest.mark.usefixtures("quick")
async def test_a_message_that_no_queue_takes_waits_in_the_outbox_until_one_does(probe: Probe) -> None:
    await probe.unbind()
    returned = metrics.UNROUTABLE.labels(Touch.name())._value
    before = returned.get()
    await probe.say(probe.touch())

    async def came_back_often() -> bool:
        return bool(returned.get() >= before + 3)

    await eventually(came_back_often, SECONDS)
    assert [message["id"] for message in await probe.outbox_messages()] == [probe.touch().id]
    assert await probe.marks() == {}
    await probe.bind()
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}


@pytest.mark.usefixtures("quick")
async def test_a_relay_that_crashes_before_it_forgets_sends_again_and_the_effect_is_still_one(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[OutboxMessage] = []
    forget = outbox.record_sent

    async def crash_once(db: Connection, outbox_messages: list[OutboxMessage]) -> None:
        sent.extend(outbox_messages)
        if len(sent) == len(outbox_messages):
            raise ConnectionResetError("the relay's process is killed here")
        await forget(db, outbox_messages)

    monkeypatch.setattr(outbox, "record_sent", crash_once)
    repeats = count(Touch, "duplicate")
    await probe.say(probe.touch())

    async def second_came() -> bool:
        return count(Touch, "duplicate") == repeats + 1

    await eventually(second_came, SECONDS)
    await probe.is_idle()
    assert [message.id for message in sent] == [probe.touch().id] * 2
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 1


async def test_two_relays_share_the_outbox_without_sending_a_letter_twice(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 10)
    handled = count(Touch, "done") + count(Touch, "duplicate")
    other = Relay(probe.consumer.pool, probe.consumer.publisher)
    await probe.say(*(probe.touch(number) for number in range(200)))
    await asyncio.gather(*(other.publish_batch() for _ in range(10)))
    await probe.is_idle()
    assert await probe.marks() == dict.fromkeys(range(200), 1)
    assert count(Touch, "done") + count(Touch, "duplicate") == handled + 200


async def test_a_connection_to_the_broker_that_is_lost_does_not_end_the_work_under_way(
    stack: Stack, database: dict[str, str]
) -> None:
    url = stack.env["BROKER_URL"]
    async with Proxy(url).running() as proxy, running(database["admin"], url, through=proxy.url) as probe:
        release = asyncio.Event()
        probe.script.steps = [waiting_for(release), at_ease]
        repeats = count(Touch, "duplicate")
        await probe.deliver(probe.touch(1))
        await probe.called(1)
        opened = proxy.accepted
        proxy.cut()
        await second_waits(probe)  # it was delivered again, on a connection that came back
        assert proxy.accepted > opened
        release.set()

        async def second_ended() -> bool:
            return count(Touch, "duplicate") == repeats + 1

        await eventually(second_ended, SECONDS)
        assert (probe.script.calls, probe.script.cancelled) == (1, 0)
        await probe.say(probe.touch(2))
        await probe.handled(2)
        await probe.is_idle()
        assert await probe.marks() == {1: 1, 2: 1}


async def test_a_broker_that_goes_while_letters_are_sent_costs_none_of_them(
    stack: Stack, database: dict[str, str]
) -> None:
    url = stack.env["BROKER_URL"]
    async with Proxy(url).running() as proxy, running(database["admin"], url, through=proxy.url) as probe:
        for tens in range(0, 500, 10):
            await probe.say(*(probe.touch(number) for number in range(tens, tens + 10)))
            if tens % 100 == 50:
                proxy.cut()

        async def all_marked() -> bool:
            return len(await probe.marks()) == 500

        await eventually(all_marked, 3 * SECONDS)
        await probe.is_idle()
        assert await probe.marks() == dict.fromkeys(range(500), 1)


async def test_a_publisher_that_loses_its_connection_raises_nothing_but_what_its_relay_waits_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "CONFIRM_SECONDS", 2)  # for an answer that never comes
    strange: list[object] = []
    ended = asyncio.Event()
    message = msgspec.structs.replace(to_outbox_message(TOUCH), mandatory=False)
    messages = [msgspec.structs.replace(message, id=uuid4()) for _ in range(20)]
    async with Proxy(stack.env["BROKER_URL"]).running() as proxy:

        async def publish_on(one: Publisher) -> None:
            arrived = False
            try:
                while not (ended.is_set() and arrived):  # in the end it is back
                    results = await one.publish(messages)
                    strange.extend(result for result in results if not isinstance(result, WAITED_FOR))
                    arrived = None in results
                    await asyncio.sleep(0.01)
            finally:
                await one.close()

        async with asyncio.timeout(3 * SECONDS), asyncio.TaskGroup() as publishing:
            for _ in range(PUBLISHERS):
                publishing.create_task(publish_on(Publisher(proxy.url, "tests")))
            for _ in range(CUTS):
                before = proxy.accepted

                async def somebody_is_back(before: int = before) -> bool:
                    return proxy.accepted > before

                await eventually(somebody_is_back, SECONDS)
                proxy.cut()
            ended.set()
    assert strange == []


async def test_a_publisher_that_is_stopped_while_it_connects_leaves_nothing_that_goes_on() -> None:
    heard = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()  # until the other side has gone
        writer.close()

    before = asyncio.all_tasks()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connecting = asyncio.create_task(Publisher(f"amqp://127.0.0.1:{port}/", "tests").channel())
        await asyncio.wait_for(heard.wait(), SECONDS)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

        async def nothing_goes_on() -> bool:
            return asyncio.all_tasks() <= before

        await eventually(nothing_goes_on, SECONDS)


@pytest.mark.usefixtures("quick")
async def test_a_relay_that_loses_postgres_before_it_forgets_goes_on(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    forget = outbox.record_sent
    sent: list[OutboxMessage] = []

    async def lose_once(db: Connection, outbox_messages: list[OutboxMessage]) -> None:
        sent.extend(outbox_messages)
        if len(sent) == len(outbox_messages):
            await terminate_sessions(probe)
        await forget(db, outbox_messages)

    monkeypatch.setattr(outbox, "record_sent", lose_once)
    await probe.say(probe.touch())

    async def sent_again() -> bool:
        return len(sent) == 2 or bool(exits)

    await eventually(sent_again, SECONDS)
    assert exits == []
    await probe.is_idle()
    assert await probe.marks() == {1: 1}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT pg_sleep(60)"])
async def test_a_connection_to_postgres_that_is_lost_in_the_middle_costs_one_more_try(
    probe: Probe, statement: str
) -> None:
    ended = asyncio.Event()

    async def until_it_is_lost(_command: Touch, db: Connection) -> None:
        if "sleep" not in statement:
            await ended.wait()
        await db.execute(statement)

    probe.script.steps = [until_it_is_lost, at_ease]
    await probe.deliver(probe.touch())
    await probe.called(1)
    await terminate_sessions(probe)
    ended.set()
    await probe.handled(1)
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
    assert probe.script.calls == 2
    assert probe.script.problems == {}


async def terminate_sessions(probe: Probe) -> None:
    """Ends the sessions of the service that are in a transaction, and waits until they are gone."""

    async def ended() -> bool:
        return bool(
            await probe.consumer.pool.fetchval(
                "SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE application_name = $1 AND pid <> pg_backend_pid()"
                " AND (state = 'idle in transaction' OR query LIKE '%pg_sleep%')",
                f"millrace {probe.consumer.service}",
            )
        )

    await eventually(ended, SECONDS)
