"""Messages of a queue that are handled in groups: one transaction for what waits, and failure stays single."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import aio_pika
import pytest

from shared.bus import failures, group_delivery, groups, handling
from shared.bus.failures import NotReady, PermanentFailure
from shared.contracts.parts import Problem
from shared.db import Connection, transaction
from tests.integration.probe_service import SECONDS, TOGETHER, Probe, Touch, count, running, to_envelope
from tests.integration.tcp_proxy import Proxy
from tests.stack import Stack
from tests.waiting import eventually

QUICK = 0.02
BAD = Problem(code="bad", detail="Always fails.")
MANY = 60


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: QUICK)
    monkeypatch.setattr(failures, "pause", lambda _created_at, _limits: QUICK)
    monkeypatch.setattr(handling, "UNAVAILABLE_SECONDS", QUICK)
    monkeypatch.setattr(groups, "UNAVAILABLE_SECONDS", QUICK)
    monkeypatch.setattr(group_delivery, "RETRY_SECONDS", QUICK)


@pytest.fixture
async def grouped(stack: Stack, database: dict[str, str]) -> AsyncIterator[Probe]:
    """A service that takes up to 400 messages together."""
    async with running(database["admin"], stack.env["BROKER_URL"], routes=TOGETHER) as started:
        yield started


class Gate:
    """A step that waits at the first message until the others are in the queue, and then plays what a test says."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.tries: Counter[int] = Counter()

    async def __call__(self, command: Touch, _db: Connection) -> None:
        if command.number == 0:
            await self.is_open.wait()
        self.tries[command.number] += 1


async def gather(probe: Probe, gate: Gate, numbers: range) -> None:
    """Delivers messages while the gate is shut, then opens it."""
    await probe.deliver(probe.touch(0))
    await probe.called(1)
    await asyncio.gather(*(probe.deliver(probe.touch(number)) for number in numbers))

    async def all_taken() -> bool:
        return await probe.waiting() == 0

    await eventually(all_taken, SECONDS)
    gate.is_open.set()


async def all_ended(probe: Probe, number: int) -> None:
    async def ended() -> bool:
        ended: int = await probe.consumer.pool.fetchval("SELECT count(*) FROM inbox WHERE name = 'touch'")
        return ended == number

    await eventually(ended, SECONDS)


async def test_what_waits_is_handled_in_one_transaction(grouped: Probe) -> None:
    gate = Gate()
    grouped.script.steps = [gate]
    await gather(grouped, gate, range(1, MANY + 1))
    await all_ended(grouped, MANY + 1)
    assert await grouped.marks() == dict.fromkeys(range(MANY + 1), 1)
    assert grouped.script.groups == [1, MANY]
    transactions = await grouped.consumer.pool.fetch("SELECT DISTINCT xmin::text FROM marks")
    assert len(transactions) == 2


async def test_a_group_is_handled_in_the_order_of_delivery(grouped: Probe) -> None:
    gate = Gate()
    grouped.script.steps = [gate]
    await gather(grouped, gate, range(1, MANY + 1))
    await all_ended(grouped, MANY + 1)
    rows = await grouped.consumer.pool.fetch("SELECT number FROM marks ORDER BY ctid")
    assert len(rows) == MANY + 1
    assert list(gate.tries) == [row["number"] for row in rows]


async def test_a_bad_message_harms_none_of_its_group(grouped: Probe) -> None:
    class Fails(Gate):
        async def __call__(self, command: Touch, db: Connection) -> None:
            await super().__call__(command, db)
            if command.number == 7:
                raise ValueError("seven")

    gate = Fails()
    grouped.script.steps = [gate]
    await gather(grouped, gate, range(1, MANY + 1))
    problem = await grouped.gave_up()
    assert problem.detail.startswith("ValueError: seven")
    await all_ended(grouped, MANY + 1)
    assert await grouped.marks() == {number: 1 for number in range(MANY + 1) if number != 7}
    attempts = await grouped.consumer.pool.fetch("SELECT message_id, count(*) FROM attempts GROUP BY 1")
    assert [(row["message_id"], row["count"]) for row in attempts] == [(grouped.touch(7).id, failures.MAX_ATTEMPTS - 1)]
    letters = await grouped.consumer.pool.fetch("SELECT id, attempts FROM dead_letters")
    assert [tuple(letter) for letter in letters] == [(grouped.touch(7).id, failures.MAX_ATTEMPTS)]
    # Halves: each other message was handled a few times more, and not once for each neighbour.
    assert max(gate.tries[number] for number in range(1, MANY + 1) if number != 7) <= 7


async def test_a_message_that_is_not_ready_is_postponed_alone(grouped: Probe) -> None:
    class Postpones(Gate):
        async def __call__(self, command: Touch, db: Connection) -> None:
            await super().__call__(command, db)
            if command.number == 7 and not self.ready:
                raise NotReady

        ready = False

    gate = Postpones()
    grouped.script.steps = [gate]
    await gather(grouped, gate, range(1, MANY + 1))
    await all_ended(grouped, MANY)
    assert 7 not in await grouped.marks()
    gate.ready = True
    await all_ended(grouped, MANY + 1)
    assert await grouped.marks() == dict.fromkeys(range(MANY + 1), 1)
    assert await grouped.consumer.pool.fetchval("SELECT count(*) FROM attempts") == 0


async def test_copies_in_a_group_have_one_effect(grouped: Probe) -> None:
    duplicates = count(Touch, "duplicate")
    gate = Gate()
    grouped.script.steps = [gate]
    await grouped.deliver(grouped.touch(0))
    await grouped.called(1)
    for number in (1, 2, 1, 2, 1):
        await grouped.deliver(grouped.touch(number))
    gate.is_open.set()

    async def all_came() -> bool:
        return count(Touch, "duplicate") == duplicates + 3

    await eventually(all_came, SECONDS)
    assert await grouped.marks() == {0: 1, 1: 1, 2: 1}


async def test_what_can_t_be_read_leaves_its_group(grouped: Probe) -> None:
    gate = Gate()
    grouped.script.steps = [gate]
    await grouped.deliver(grouped.touch(0))
    await grouped.called(1)
    await grouped.deliver(grouped.touch(1))
    await grouped.post(b"{")  # without an envelope: the broker takes it
    await grouped.post(to_envelope(grouped.touch(5), data={"number": "five"}, subject=str(grouped.job_id)))
    await grouped.deliver(grouped.touch(2))
    gate.is_open.set()
    await grouped.handled(2)
    await grouped.is_idle()
    assert await grouped.marks() == {0: 1, 1: 1, 2: 1}
    letters = await grouped.consumer.pool.fetch("SELECT id, reason FROM dead_letters")
    assert [tuple(letter) for letter in letters] == [(grouped.touch(5).id, "undecodable")]


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 1), ("MAX_ROWS", 0)])
async def test_a_group_has_limits(grouped: Probe, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(group_delivery, limit, value)
    gate = Gate()
    grouped.script.steps = [gate]
    await gather(grouped, gate, range(1, 6))
    await all_ended(grouped, 6)
    assert grouped.script.groups == [1] * 6


async def test_a_slow_group_makes_the_next_one_smaller(grouped: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_delivery, "SLOW_SECONDS", 0.0)
    gate = Gate()
    grouped.script.steps = [gate]
    await gather(grouped, gate, range(1, 6))
    await all_ended(grouped, 6)
    assert grouped.script.groups == [1] * 6


async def redeliver(probe: Probe, number: int) -> None:
    """Publishes a message as the broker delivers it after its consumer has died."""
    async with probe._broker.channel() as channel:
        body = to_envelope(probe.touch(number), subject=str(probe.job_id))
        await channel.default_exchange.publish(
            aio_pika.Message(body, headers={"x-delivery-count": 1}), routing_key=probe.queue
        )


async def gather_again(probe: Probe, gate: Gate) -> None:
    """Redelivers five messages while the gate is shut, opens it, and waits for their ends."""
    await probe.deliver(probe.touch(0))
    await probe.called(1)
    for number in range(1, 6):
        await redeliver(probe, number)
    gate.is_open.set()
    await all_ended(probe, 6)


async def test_after_a_crash_the_group_is_repeated_and_its_attempts_are_recorded_while_it_runs(grouped: Probe) -> None:
    begun: list[int] = []

    class Looks(Gate):
        async def __call__(self, command: Touch, db: Connection) -> None:
            await super().__call__(command, db)
            if command.number:
                begun.append(await db.fetchval("SELECT count(*) FROM attempts WHERE problem IS NULL"))

    gate = Looks()
    grouped.script.steps = [gate]
    await gather_again(grouped, gate)
    await grouped.is_idle()
    assert grouped.script.groups == [1, 5]
    assert begun == [5] * 5
    assert await grouped.consumer.pool.fetchval("SELECT count(*) FROM attempts") == 0


async def test_a_group_that_crashed_again_is_handled_singly(grouped: Probe) -> None:
    gate = Gate()
    grouped.script.steps = [gate]
    async with transaction(grouped.consumer.pool) as db:
        for number in range(1, 4):
            await db.execute(
                "INSERT INTO attempts (message_id, number, name, worker) VALUES ($1, 1, 'touch', 'gone')",
                grouped.touch(number).id,
            )
    await gather_again(grouped, gate)
    assert grouped.script.groups == [1, 2, 1, 1, 1]  # 4 and 5 have not crashed twice


async def test_shutdown_ends_the_running_group_and_hands_back_what_waits(grouped: Probe) -> None:
    gate = Gate()
    grouped.script.steps = [gate]
    await grouped.deliver(grouped.touch(0))
    await grouped.called(1)
    for number in range(1, 6):
        await grouped.deliver(grouped.touch(number))
    grouped.consumer.stopping.set()
    gate.is_open.set()
    await grouped.handled(0)

    async def ended() -> bool:
        return not any(delivery.running for delivery in grouped.consumer.deliveries)

    await eventually(ended, SECONDS)
    await grouped.consumer.subscriptions.close()

    async def handed_back() -> bool:
        return await grouped.waiting() == 5

    await eventually(handed_back, SECONDS)
    assert await grouped.marks() == {0: 1}


@pytest.mark.parametrize("seed", range(4))
async def test_good_bad_and_strange_messages_end_as_one_by_one_whatever_is_cut(
    stack: Stack, database: dict[str, str], seed: int
) -> None:
    chance = random.Random(seed)
    numbers = range(200)
    permanent, failing, flaky, early = (set(chance.sample(numbers, 12)) for _ in range(4))
    tries: Counter[int] = Counter()

    async def step(command: Touch, db: Connection) -> None:
        number = command.number
        tries[number] += 1
        if number in permanent:
            raise PermanentFailure(BAD)
        if number in failing:
            raise ValueError(number)
        if number in flaky and tries[number] < 3:
            raise RuntimeError(number)
        if number in early and tries[number] < 4:
            raise NotReady
        if chance.random() < 0.002:
            await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    broker = stack.env["BROKER_URL"]
    async with (
        Proxy(broker).running() as proxy,
        running(database["admin"], broker, through=proxy.url, routes=TOGETHER) as probe,
    ):
        probe.script.steps = [step]
        for start in range(0, len(numbers), 50):
            await probe.say(*(probe.touch(number) for number in numbers[start : start + 50]))
            await probe.called(probe.script.calls + 1)
            proxy.cut()
        await all_ended(probe, len(numbers))
        dead = permanent | failing
        assert await probe.marks() == {number: 1 for number in numbers if number not in dead}
        letters = await probe.consumer.pool.fetch("SELECT id FROM dead_letters")
        assert {letter["id"] for letter in letters} == {probe.touch(number).id for number in dead}

        async def announced() -> bool:
            return len(probe.script.problems.get(probe.job_id, [])) == len(dead)

        await eventually(announced, SECONDS)
