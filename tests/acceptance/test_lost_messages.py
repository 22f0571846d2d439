"""The first message of every route is lost on its way, under traffic; each is recovered within a minute."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import msgspec
import pytest

from deploy.topology import HEARD
from shared.bus import topology
from shared.bus.routes import Route
from shared.contracts.commands import DefineWords
from shared.contracts.dead_letter_events import DiscardRequested, RedriveRequested
from shared.contracts.envelope import Envelope
from shared.contracts.events import SMALL, WorkFailed
from shared.contracts.message import Command, Message
from shared.contracts.parts import Problem
from tests.acceptance.import_files import count_documents, forget, imported
from tests.stack import Stack, empty, read_resent, wait_until_ended
from tests.waiting import eventually


def lane(route: Route) -> str:
    """Of small messages, for all files here are small."""
    return SMALL if SMALL in route.message.lanes else ""


ROUTES = {route.queue(service, lane(route)): route for service, routes in HEARD.items() for route in routes}
"""By queue."""
RECOVERED_WITHIN = 60.0
ALL_WITHIN = 300.0
YEAR = 1966
BAD = "id,name,price\n1,Bad,x\n2,Good,1\n"


class Lost(msgspec.Struct, frozen=True):
    """A message that a queue never got, and when."""

    id: UUID
    at: dt.datetime


class Thief:
    """Takes the first message of a queue's binding away, and then leaves the queue alone."""

    def __init__(self, queue: str, route: Route) -> None:
        self.queue = queue
        self.lost: list[Lost] = []
        self._route = route
        self._keys = route.bindings(queue.partition(".")[0], lane(route))

    async def run(self, channel: aio_pika.abc.AbstractChannel, now: Any) -> None:
        """Runs until a message was taken."""
        exchange = await channel.get_exchange(
            topology.COMMANDS if issubclass(self._route.message, Command) else topology.EVENTS
        )
        own = await channel.get_queue(self.queue)
        loot = await channel.declare_queue(f"lost.{self.queue}", auto_delete=True)
        for key in self._keys:
            await loot.bind(exchange, key)
            await own.unbind(exchange, key)
        messages: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await messages.put(message.body)

        tag = await loot.consume(take, no_ack=True)
        try:
            await self._record(await messages.get(), now)
        finally:
            for key in self._keys:
                await own.bind(exchange, key)
                await loot.unbind(exchange, key)
            await loot.cancel(tag)
        while not messages.empty():
            await self._record(messages.get_nowait(), now)

    async def _record(self, body: bytes, now: Any) -> None:
        self.lost.append(Lost(msgspec.json.decode(body, type=Envelope).id, await now()))


class Losses(msgspec.Struct, frozen=True):
    """What was lost, by queue, when it had ended, and the jobs."""

    lost: dict[str, list[Lost]]
    ended: dict[tuple[str, UUID], dt.datetime]
    jobs: dict[str, dict[str, Any]]


async def submit(stack: Stack, path: str, content: Any = None, **parameters: Any) -> str:
    """The id of an accepted job."""
    answer = await (
        stack.client.post(path, json=content, params=parameters)
        if not isinstance(content, str)
        else stack.client.post(path, content=content, params=parameters, headers={"Content-Type": "text/csv"})
    )
    assert answer.status_code in (200, 202), answer.text
    return str(answer.json().get("id", ""))


async def say(db: asyncpg.Connection, sender: str, message: Message) -> None:
    """Writes a message that a job rarely causes."""
    await db.execute(
        f"INSERT INTO {sender}.outbox (id, name, dataset, subject, command, mandatory, receivers, data)"
        " VALUES ($1, $2, $3, '', $4, true, $5, $6)",
        message.id,
        message.name(),
        message.dataset,
        isinstance(message, Command),
        list(message.receivers),
        message.encode(),
    )


async def submit_all(stack: Stack, db: asyncpg.Connection, failed: list[str]) -> dict[str, str]:
    """A job of each kind, and messages that no job causes."""
    items = "id,name,price\n" + "".join(f"{number},Lost item {number},1.00\n" for number in range(1000, 1500))
    customers = "customer_id,first_name,last_name,email\n" + "".join(
        f"c{number},Ada,Byron,a{number}@example.org\n" for number in range(50)
    )
    jobs = {
        "import": await submit(stack, "/v1/datasets/items/imports", items),
        "replace": await submit(stack, "/v1/datasets/customers/imports", customers, mode="replace", max_shrink=1),
        "stopped": await submit(stack, "/v1/datasets/items/imports", BAD, max_errors=0),
        "replay": await submit(stack, f"/v1/jobs/{failed[0]}/replay"),
        "detach": await submit(stack, f"/v1/datasets/hired_employees/partitions/{YEAR}/detach"),
        "sync": await submit(stack, "/v1/datasets/contacts/syncs"),
        "search": await submit(stack, "/v1/searches", {"dataset": "items", "q": "lost"}),
        "refresh": await submit(stack, "/v1/reports/hires_by_quarter/refreshes"),
        "rebuild": await submit(stack, "/v1/datasets/items/rollups/stock/rebuilds"),
    }
    rejected = await stack.client.post(
        "/v1/datasets/items/imports", content='[{"id": 1}, {', headers={"Content-Type": "application/json"}
    )
    jobs["rejected"] = rejected.json()["id"]
    await submit(stack, f"/v1/jobs/{failed[1]}/failed-rows/discard")
    await submit(stack, "/v1/datasets/items/reindexes")
    for sender, message in (
        ("indexer", DefineWords(dataset="paragraphs", version=0, moment=1)),
        ("gateway", RedriveRequested(dataset="", request_id=uuid4(), ids=())),
        ("gateway", DiscardRequested(dataset="", request_id=uuid4(), ids=())),
        ("ingestor", WorkFailed(dataset="items", job_id=uuid4(), message_id=uuid4(), message="x", problem=PROBLEM)),
    ):
        await say(db, sender, message)
    return jobs


PROBLEM = Problem(code="gave_up", detail="Nobody's work.")


async def keep_busy(stack: Stack) -> None:
    """Traffic on most queues, until cancelled."""
    number = 0
    while True:
        number += 1
        rows = [{"id": 5000 + number, "name": f"Traffic {number}", "price": 1}]
        with contextlib.suppress(Exception):
            await stack.client.post("/v1/datasets/items/rows", json={"rows": rows}, headers={"Prefer": "wait=1"})
            await stack.client.post(
                "/v1/searches", json={"dataset": "items", "q": "traffic"}, headers={"Prefer": "wait=1"}
            )


@pytest.fixture(scope="module")
async def losses(stack: Stack) -> AsyncIterator[Losses]:
    await empty(stack)
    await imported(stack, "hired_employees", f"66000001,Lost,{YEAR}-05-05T00:00:00Z,1,1\n")
    failed = [(await imported(stack, "items", BAD))["id"] for _ in range(2)]
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    broker = await aio_pika.connect(stack.env["BROKER_URL"])

    async def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC)  # the clock of Postgres too, which runs on this machine

    thieves = [Thief(queue, route) for queue, route in ROUTES.items()]
    robberies = [asyncio.create_task(thief.run(await broker.channel(), now)) for thief in thieves]
    busy = asyncio.create_task(keep_busy(stack))
    declaring = asyncio.create_task(
        stack.client.put(
            "/v1/datasets/lost_things",
            json={
                "title": "Lost things",
                "primary_key": ["id"],
                "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "name", "type": "string"}],
                "search": {"fields": ["name"]},
            },
        )
    )
    try:
        submitted = await submit_all(stack, db, failed)
        ended: dict[tuple[str, UUID], dt.datetime] = {}

        async def all_ended() -> bool:
            for thief in thieves:
                inbox = f"{thief.queue.partition('.')[0]}.inbox"
                ids = [lost.id for lost in thief.lost if (thief.queue, lost.id) not in ended]
                for row in await db.fetch(f"SELECT id, done_at FROM {inbox} WHERE id = ANY($1)", ids):
                    ended[thief.queue, row["id"]] = row["done_at"]
            return all(thief.lost and all((thief.queue, lost.id) in ended for lost in thief.lost) for thief in thieves)

        with contextlib.suppress(AssertionError):  # the tests say which did not end
            await eventually(all_ended, ALL_WITHIN)
        assert (await declaring).status_code in (200, 201, 202)
    finally:
        for task in (busy, *robberies):
            task.cancel()
        await asyncio.gather(busy, *robberies, return_exceptions=True)
    jobs = {kind: (await stack.client.get(f"/v1/jobs/{number}")).json() for kind, number in submitted.items()}
    yield Losses({thief.queue: thief.lost for thief in thieves}, ended, jobs)
    await broker.close()
    await db.close()
    await forget(stack, "lost_things")
    await wait_until_ended(stack)
    stack.forgiven.update(await read_resent(stack.env))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("queue", ROUTES)
async def test_a_lost_message_is_recovered_within_a_minute(losses: Losses, queue: str) -> None:
    assert losses.lost[queue], "none was lost"
    for lost in losses.lost[queue]:
        assert (queue, lost.id) in losses.ended, f"{lost.id} has not ended"
        assert (losses.ended[queue, lost.id] - lost.at).total_seconds() < RECOVERED_WITHIN


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("import", "succeeded"),
        ("replace", "succeeded"),
        ("stopped", "failed"),
        ("rejected", "failed"),
        ("replay", "failed"),
        ("detach", "succeeded"),
        ("sync", "succeeded"),
        ("search", "succeeded"),
        ("refresh", "succeeded"),
        ("rebuild", "succeeded"),
    ],
)
async def test_the_jobs_end_as_without_losses(losses: Losses, kind: str, status: str) -> None:
    assert losses.jobs[kind]["status"] == status, losses.jobs[kind]


async def test_the_books_balance_after_all_losses(losses: Losses, stack: Stack) -> None:
    del losses
    db = await asyncpg.connect(stack.env["DATABASE_URL"])

    async def balanced() -> bool:
        rows = await db.fetchval("SELECT count(*) FROM data.items")
        counted = await db.fetchval("SELECT sum(items) FROM rollups.items__stock")
        return bool(rows == counted == await count_documents(db, "items"))

    await eventually(balanced, 60)
    await db.close()
