"""The relay: what the broker refuses, what no broker may take, and how much is in memory at once."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from types import NoneType
from uuid import uuid4

import aio_pika
import asyncpg
import msgspec
import pytest
from aiormq.abc import ChannelFrame
from pamqp.common import FieldTable

from shared.bus import failures, outbox, relay
from shared.bus.outbox import OutboxMessage
from shared.bus.publisher import Refused, TooLarge, Unroutable
from shared.bus.relay import Relay
from shared.contracts.envelope import MAX_BYTES
from shared.db import transaction
from shared.telemetry import metrics
from tests.integration.probe_service import SECONDS, Probe, Touch, count, to_outbox_message
from tests.stack import Stack
from tests.waiting import eventually

ROUND = 5
FULL = 20
MEBIBYTE = 1 << 20


@contextlib.asynccontextmanager
async def full_queue(url: str) -> AsyncIterator[str]:
    """A queue that has all the messages it takes."""
    name = f"probe_full_{uuid4().hex[:8]}"
    arguments: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with await aio_pika.connect(url) as broker, broker.channel() as channel:
        await channel.declare_queue(name, durable=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b""), routing_key=name)
        try:
            yield name
        finally:
            await channel.queue_delete(name)


async def insert_for(probe: Probe, queue: str, numbers: range) -> None:
    """Messages for this queue only, due earlier than any other."""
    async with transaction(probe.consumer.pool) as db:
        for number in numbers:
            await outbox.insert_retry(
                db,
                probe.touch(number),
                queue=queue,
                attempt=1,
                seconds=-60,
                created_at=await db.fetchval("SELECT now()"),
                problem=None,
            )


async def insert_padded(probe: Probe, number: int, size: int) -> None:
    """A message whose data have this size."""
    async with transaction(probe.consumer.pool) as db:
        await outbox.insert_messages(db, [probe.touch(number)])
        await db.execute(
            "UPDATE outbox SET data = data || convert_to(repeat(' ', $2 - octet_length(data)), 'UTF8') WHERE id = $1",
            probe.touch(number).id,
            size,
        )


async def test_refused_messages_do_not_hold_up_younger_ones(
    stack: Stack, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", ROUND)
    monkeypatch.setattr(failures, "pause", lambda _created_at, _limits: 60.0)
    refused = metrics.REFUSED.labels(Touch.name())._value
    before = refused.get()
    async with full_queue(stack.env["BROKER_URL"]) as queue:
        await insert_for(probe, queue, range(100, 100 + FULL))
        await probe.say(*(probe.touch(number) for number in range(3 * ROUND)))
        for number in range(3 * ROUND):
            await probe.handled(number)
        rows = await probe.outbox_messages()
        assert {row["queue"] for row in rows} == {queue}
        assert len(rows) == FULL
        assert all(50 < row["seconds"] <= 60 for row in rows)
        assert refused.get() == before + FULL  # each was tried once


async def test_a_refused_message_is_sent_once_there_is_room(
    stack: Stack, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "pause", lambda _created_at, _limits: 0.05)
    async with full_queue(stack.env["BROKER_URL"]) as queue:
        await insert_for(probe, queue, range(1))
        refused = metrics.REFUSED.labels(Touch.name())._value
        before = refused.get()

        async def refused_often() -> bool:
            return bool(refused.get() >= before + 2)

        await eventually(refused_often, SECONDS)
        async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
            await (await channel.get_queue(queue)).purge()

        async def is_sent() -> bool:
            return not await probe.outbox_messages()

        await eventually(is_sent, SECONDS)


async def test_a_message_that_is_too_large_becomes_a_dead_letter_and_fails_its_job(probe: Probe) -> None:
    await insert_padded(probe, 1, MAX_BYTES)
    await probe.say(probe.touch(2))
    problem = await probe.gave_up()
    assert problem.code == "message_too_large"
    await probe.handled(2)
    await probe.is_idle()
    assert await probe.marks() == {2: 1}
    row = await select_letter(probe)
    assert (row["id"], row["reason"], row["queue"], row["attempts"]) == (probe.touch(1).id, "too_large", "", 0)
    assert row["bytes"] == MAX_BYTES
    assert await probe.consumer.pool.fetchval("SELECT count(*) FROM outbox WHERE id = $1", probe.touch(1).id) == 0


async def select_letter(probe: Probe) -> asyncpg.Record:
    row = await probe.consumer.pool.fetchrow("SELECT *, octet_length(data) AS bytes FROM dead_letters")
    assert row is not None
    return row


async def test_the_largest_message_that_fits_is_sent(probe: Probe) -> None:
    await insert_padded(probe, 1, MAX_BYTES - 1000)
    probe.consumer.relay.wake()
    await probe.handled(1)


async def test_a_round_is_limited_by_bytes_and_has_one_message_at_least(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 3600)  # the probe's own relay sends what it has, and then rests
    await probe.say(probe.touch(0))
    await probe.handled(0)
    await probe.is_idle()
    sizes = [MEBIBYTE, MEBIBYTE, 3 * MEBIBYTE, MEBIBYTE]
    for number, size in enumerate(sizes, 1):
        await insert_padded(probe, number, size)
    async with transaction(probe.consumer.pool) as db:
        rounds = [
            len(await outbox.select_due(db, limit, size)) for limit, size in ((4, 1), (4, 2 * MEBIBYTE), (4, 64 << 20))
        ]
    assert rounds == [1, 2, 4]
    handled = count(Touch, "done")
    monkeypatch.setattr(relay, "BATCH_BYTES", 2 * MEBIBYTE)
    own = Relay(probe.consumer.pool, probe.consumer.publisher)
    assert [await own.publish_batch() for _ in range(4)] == [True, True, False, False]
    for number in range(1, 5):
        await probe.handled(number)
    assert count(Touch, "done") == handled + 4


async def test_each_message_of_a_batch_has_a_result_of_its_own(
    stack: Stack, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0

    async def counting(queue: asyncio.Queue[object], item: object) -> None:
        nonlocal writes
        writes += isinstance(item, ChannelFrame) and b"nowhere" in item.payload
        await put(queue, item)

    put = asyncio.Queue.put
    monkeypatch.setattr(asyncio.Queue, "put", counting)
    async with full_queue(stack.env["BROKER_URL"]) as full:
        sent = [to_outbox_message(probe.touch(number)) for number in range(10)]
        refused = [replaced(probe.touch(number), queue=full) for number in range(10, 20)]
        lost = [replaced(probe.touch(number), queue="nowhere") for number in range(20, 30)]
        large = msgspec.structs.replace(sent[0], id=uuid4(), data=b'"%b"' % bytes(MAX_BYTES).replace(b"\0", b"x"))
        batch = [large, *itertools.chain(*zip(sent, refused, lost, strict=True))]
        results = await probe.consumer.publisher.publish(batch)
    kinds = [NoneType, Refused, Unroutable]
    assert [type(result) for result in results] == [TooLarge, *kinds * 10]
    assert writes == 1
    for number in range(10):
        await probe.handled(number)
    await probe.is_idle()
    assert await probe.marks() == dict.fromkeys(range(10), 1)


async def test_copies_of_a_message_in_one_batch_have_results_of_their_own(probe: Probe) -> None:
    copies = [replaced(probe.touch(), queue=queue) for queue in ("nowhere", probe.queue, "gone")]
    results = await probe.consumer.publisher.publish(copies)
    assert [type(result) for result in results] == [Unroutable, NoneType, Unroutable]
    await probe.handled(1)


def replaced(message: Touch, *, queue: str) -> OutboxMessage:
    """The message for this queue only."""
    return msgspec.structs.replace(to_outbox_message(message), queue=queue)
