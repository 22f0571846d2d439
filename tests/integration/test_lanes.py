"""Lanes: small messages overtake large ones, and stay in their lane when they are retried, recovered or redriven."""

import asyncio
from uuid import uuid4

import aio_pika
import msgspec
import pytest

from shared.bus import failures
from shared.bus.dead_letters import redrive
from shared.bus.failures import PermanentFailure
from shared.bus.recovery import Recovery
from shared.bus.routes import routing_key
from shared.contracts.commands import LARGE_BYTES, LoadRows
from shared.contracts.dead_letter_events import RedriveRequested
from shared.contracts.events import SMALL_BYTES, ChunkLoaded
from shared.contracts.parts import LoadOptions, Outcome, Problem
from shared.db import Connection, transaction
from tests.integration.probe_service import SECONDS, SERVICE, SMALL, Probe, Step, Touch
from tests.integration.test_delivery import at_ease, failing
from tests.integration.test_recovery import found, impatient  # noqa: F401 - the fixture applies to these tests too
from tests.stack import Stack
from tests.waiting import eventually

SMALL_QUEUE = f"{SERVICE}.touch.small"


def test_the_size_of_a_chunk_decides_its_lane() -> None:
    def lane(size: int) -> str:
        return ChunkLoaded(
            dataset="items", job_id=uuid4(), chunk=1, ledger=1, version=1, bytes=size, outcome=Outcome()
        ).lane

    assert [lane(size) for size in (0, SMALL_BYTES - 1, SMALL_BYTES, 6 << 20)] == ["small", "small", "", ""]


def test_a_batch_of_many_bytes_has_a_lane_of_its_own() -> None:
    def lane(size: int) -> str:
        rows = (msgspec.Raw(b"1"), msgspec.Raw(b"2" * (size - 1)))
        return LoadRows(dataset="items", job_id=uuid4(), rows=rows, columns=("id",), load_options=LoadOptions()).lane

    assert [lane(size) for size in (2, LARGE_BYTES, LARGE_BYTES + 1, 8 << 20)] == ["", "", "large", "large"]


def test_a_routing_key_has_a_word_for_the_dataset_even_if_that_is_empty() -> None:
    assert routing_key("chunk.loaded", "items", "", command=False) == "chunk.loaded.items"
    assert routing_key("chunk.loaded", "items", "small", command=False) == "chunk.loaded.items.small"
    assert routing_key("redrive.requested", "", "", command=False) == "redrive.requested."
    assert routing_key("touch", "marks", "small", command=True) == "touch.small"


def test_a_routing_key_names_the_receivers_of_a_message_that_not_all_need_after_the_lane() -> None:
    assert routing_key("chunk.loaded", "items", "small", "gateway", command=False) == "chunk.loaded.items.small.gateway"
    assert routing_key("chunk.loaded", "items", "", "a.b", command=False) == "chunk.loaded.items..a.b"


def large_ones_wait_for(event: asyncio.Event) -> Step:
    """A step that keeps large messages waiting."""

    async def wait(command: Touch, _db: Connection) -> None:
        if command.number < SMALL:
            await event.wait()

    return wait


async def test_a_small_message_overtakes_large_ones_that_wait(probe: Probe) -> None:
    block = asyncio.Event()
    probe.script.steps = [large_ones_wait_for(block)]
    await probe.say(*(probe.touch(number) for number in range(10)))
    await probe.called(1)
    try:
        await probe.say(probe.touch(SMALL))
        await probe.handled(SMALL)
        assert await probe.marks() == {SMALL: 1}
    finally:
        block.set()
    await probe.is_idle()
    assert await probe.marks() == dict.fromkeys([*range(10), SMALL], 1)


async def test_a_retry_goes_to_the_lane_it_came_from(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "backoff", lambda _attempt: 60.0)
    probe.script.steps = [failing(ValueError("later")), at_ease]
    await probe.say(probe.touch(SMALL))

    async def queues() -> list[str]:
        return [message["queue"] for message in await probe.outbox_messages() if message["queue"]]

    assert await eventually(queues, SECONDS) == [SMALL_QUEUE]


async def test_a_lost_small_message_is_recovered_into_its_lane_while_the_large_ones_wait(
    stack: Stack, probe: Probe
) -> None:
    block = asyncio.Event()
    probe.script.steps = [large_ones_wait_for(block)]
    await probe.say(*(probe.touch(number) for number in range(5)))
    await probe.called(1)
    consumer = probe.consumer
    small = probe.touch(SMALL)
    async with transaction(consumer.pool) as db:
        await db.execute(
            "INSERT INTO gateway.outbox"
            " (id, name, dataset, lane, subject, command, mandatory, receivers, data, sent_at)"
            " VALUES ($1, 'touch', 'marks', 'small', $2, true, true, ARRAY['probe'], $3, now())",
            small.id,
            str(probe.job_id),
            small.encode(),
        )
    recoverer = Recovery(SERVICE, consumer.pool, consumer.relay, consumer.publisher, consumer.handlings)
    try:
        assert [message.id for message in await found(recoverer)] == [small.id]
        await probe.handled(SMALL)
    finally:
        block.set()
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as connection:
        channel = await connection.channel()
        assert (await channel.get_queue(SMALL_QUEUE)).name == SMALL_QUEUE


async def test_a_redriven_message_keeps_its_lane(probe: Probe) -> None:
    useless = Problem(code="no_use", detail="It will never work.")
    probe.script.steps = [failing(PermanentFailure(useless)), at_ease]
    small = probe.touch(SMALL)
    await probe.say(small)
    await probe.gave_up()
    async with transaction(probe.consumer.pool) as db:
        await redrive(RedriveRequested(dataset="", request_id=uuid4(), ids=(small.id,)), db)
        assert await db.fetchval("SELECT lane FROM outbox WHERE queue = $1", SMALL_QUEUE) == "small"
    probe.consumer.relay.wake()
    await probe.handled(SMALL)
