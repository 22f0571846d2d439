"""Bindings: a message that not all receivers need reaches the queues of the others, and every other subscriber."""

import itertools
from collections.abc import AsyncIterator
from typing import ClassVar

import aio_pika
import pytest

from shared.bus import topology
from shared.bus.routes import on
from shared.bus.topology import EVENTS
from shared.contracts.message import Event
from shared.db import Connection
from tests.integration.probe_service import SECONDS, Probe
from tests.stack import Stack
from tests.waiting import eventually

SERVICES = ("probe_a", "probe_b", "probe_c")
OPTIONAL = ("probe_b", "probe_c")
SUBSETS = [subset for size in range(3) for subset in itertools.combinations(OPTIONAL, size)]


class PartTaken(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event for `probe_a`, and for those who want it."""

    receivers: ClassVar[tuple[str, ...]] = SERVICES
    optional: ClassVar[tuple[str, ...]] = OPTIONAL
    identity: ClassVar[tuple[str, ...]] = ("number",)
    lanes: ClassVar[tuple[str, ...]] = ("", "small")

    number: int
    wanted: tuple[str, ...]

    @property
    def lane(self) -> str:
        return self.lanes[self.number % 2]

    @property
    def to(self) -> tuple[str, ...]:
        return tuple(name for name in self.receivers if name not in self.optional or name in self.wanted)


async def take(event: PartTaken, db: Connection) -> None:
    """Nobody calls it: the queues have no consumer."""


ROUTE = on(PartTaken, take)


@pytest.fixture
async def subscriber(stack: Stack) -> AsyncIterator[str]:
    """The queue of somebody who binds to all of them; beside those of the services."""
    url = stack.env["BROKER_URL"]
    queues = await topology.declare(url, dict.fromkeys(SERVICES, (ROUTE,)))
    async with await aio_pika.connect(url) as broker, broker.channel() as channel:
        queue = await channel.declare_queue("probe_subscriber", durable=True)
        await queue.bind(EVENTS, routing_key="part.taken.items.#")
        try:
            yield queue.name
        finally:
            for name in (*queues, queue.name):
                await channel.queue_delete(name)


@pytest.mark.parametrize("wanted", SUBSETS)
async def test_a_message_reaches_its_receivers_and_every_subscriber_and_is_open_for_the_former(
    probe: Probe, subscriber: str, wanted: tuple[str, ...]
) -> None:
    events = [PartTaken(dataset="items", number=number, wanted=wanted) for number in range(4)]
    await probe.say(*events)
    count = probe.consumer.publisher.count

    async def arrived() -> bool:
        return await count(subscriber) == (4, 0)

    await eventually(arrived, SECONDS)
    found = {
        (service, lane): (await count(ROUTE.queue(service, lane)))[0]
        for service in SERVICES
        for lane in PartTaken.lanes
    }
    to = ("probe_a", *wanted)
    assert found == {(service, lane): 2 * (service in to) for service in SERVICES for lane in PartTaken.lanes}
    rows = await probe.consumer.pool.fetch("SELECT receivers FROM outbox WHERE name = 'part.taken'")
    assert [tuple(row["receivers"]) for row in rows] == [to] * 4
