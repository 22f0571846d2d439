"""A service for tests: it consumes one command, and a script decides what its handler does."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import msgspec
from litestar import Litestar

from shared.bus import outbox, topology
from shared.bus.outbox import OutboxMessage
from shared.bus.routes import Route, on
from shared.consumer import Consumer
from shared.contracts.events import WorkFailed
from shared.contracts.message import Command, Message
from shared.contracts.parts import Problem
from shared.db import Connection
from shared.settings import ServiceSettings
from shared.telemetry import metrics
from tests.waiting import eventually

MIGRATIONS = sorted((Path(topology.__file__).parent / "migrations").glob("*.sql"))
SERVICE = "probe"
SECONDS = 20.0
SMALL = 1000
Step = Callable[["Touch", Connection], Awaitable[None]]


class Touch(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Leave a mark."""

    receivers: ClassVar[tuple[str, ...]] = (SERVICE,)
    lanes: ClassVar[tuple[str, ...]] = ("", "small")
    identity: ClassVar[tuple[str, ...]] = ("job_id", "number")

    job_id: UUID
    number: int

    @property
    def lane(self) -> str:
        """Small from SMALL on."""
        return "small" if self.number >= SMALL else ""

    @property
    def row_count(self) -> int:
        """A mark."""
        return 1


class Script:
    """What the handler does: its steps in turn, of which the last one is repeated, and then its mark."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.calls = 0
        self.cancelled = 0
        self.groups: list[int] = []
        self.problems: dict[UUID, list[Problem]] = {}

    async def play(self, command: Touch, db: Connection) -> None:
        step = self.steps[min(self.calls, len(self.steps) - 1)] if self.steps else None
        self.calls += 1
        try:
            await db.execute("INSERT INTO marks (number) VALUES ($1)", command.number)
            if step is not None:
                await step(command, db)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def touch(command: Touch, db: Connection, script: Script) -> None:
    await script.play(command, db)


async def note_failure(event: WorkFailed, script: Script) -> None:
    script.problems.setdefault(event.job_id, []).append(event.problem)


async def touch_together(commands: Sequence[Touch], db: Connection, script: Script) -> None:
    script.groups.append(len(commands))
    for command in commands:
        await script.play(command, db)


FAILURES = on(WorkFailed, note_failure)
SINGLY = (on(Touch, touch, concurrency=2), FAILURES)


TOGETHER = (on(Touch, touch_together, together=400), FAILURES)


class Probe:
    """The running service: sends, delivers, waits and counts."""

    def __init__(self, consumer: Consumer, script: Script, broker: aio_pika.abc.AbstractConnection) -> None:
        self.consumer = consumer
        self.script = script
        self.job_id = uuid4()
        self._broker = broker

    @property
    def queue(self) -> str:
        """Where the commands wait."""
        return self.consumer.routes[0].queue(self.consumer.service)

    def touch(self, number: int = 1) -> Touch:
        return Touch(dataset="marks", job_id=self.job_id, number=number)

    async def say(self, *messages: Message) -> None:
        """Inserts the messages into the outbox, as a handler does."""
        async with self.consumer.pool.acquire() as db, db.transaction():
            await outbox.insert_messages(db, messages)
        self.consumer.relay.wake()

    async def deliver(self, message: Message, times: int = 1) -> None:
        """Publishes past the outbox, as often as given."""
        for _ in range(times):
            assert await self.consumer.publisher.publish([to_outbox_message(message)]) == [None]

    async def post(self, body: bytes) -> None:
        """Whatever a stranger may send to the queue."""
        async with self._broker.channel() as channel:
            await channel.default_exchange.publish(aio_pika.Message(body), routing_key=self.queue)

    async def unbind(self) -> None:
        """From now on no queue takes the commands."""
        async with self._broker.channel() as channel:
            queue = await channel.get_queue(self.queue)
            await queue.unbind(topology.COMMANDS, routing_key=Touch.name())

    async def bind(self) -> None:
        """Undoes `unbind`."""
        async with self._broker.channel() as channel:
            queue = await channel.get_queue(self.queue)
            await queue.bind(topology.COMMANDS, routing_key=Touch.name())

    async def marks(self) -> dict[int, int]:
        """How many there are, by number."""
        rows = await self.consumer.pool.fetch("SELECT number, count(*) FROM marks GROUP BY number")
        return {row["number"]: row["count"] for row in rows}

    async def outbox_messages(self) -> list[asyncpg.Record]:
        """Messages in the outbox that are not sent, and for how many seconds they are not due."""
        return await self.consumer.pool.fetch(
            "SELECT *, extract(epoch FROM due_at - now())::float8 AS seconds FROM outbox"
            " WHERE sent_at IS NULL ORDER BY due_at"
        )

    async def waiting(self) -> int:
        """Commands in the queue that nobody has taken."""
        return (await self.consumer.publisher.count(self.queue))[0]

    async def handled(self, number: int) -> None:
        """Waits until the command has left its mark."""

        async def is_marked() -> bool:
            return number in await self.marks()

        await eventually(is_marked, SECONDS)

    async def called(self, times: int) -> None:
        """Waits until the handler has begun so often."""

        async def often() -> bool:
            return self.script.calls >= times

        await eventually(often, SECONDS)

    async def is_idle(self) -> None:
        """Waits until nothing is under way, on the broker, in the outbox or here."""

        async def idle() -> bool:
            return (
                not any(delivery.running for delivery in self.consumer.deliveries)
                and not await self.outbox_messages()
                and await self.waiting() == 0
            )

        await eventually(idle, SECONDS)

    async def gave_up(self) -> Problem:
        """Waits for the failure of the job and returns its problem."""

        async def problems() -> list[Problem]:
            return self.script.problems.get(self.job_id, [])

        (problem,) = await eventually(problems, SECONDS)
        return problem


@contextlib.asynccontextmanager
async def running(
    database_url: str,
    broker_url: str,
    *,
    through: str | None = None,
    schema: str = "probe",
    routes: tuple[Route, ...] = SINGLY,
) -> AsyncIterator[Probe]:
    """The probe with queues of its own, in the schema `probe`; `through` is the broker's URL as the probe sees it.

    Another `schema` for its tables makes it wait until that is renamed.
    """
    url = urlunsplit(urlsplit(database_url)._replace(query="search_path=probe"))
    script = Script()
    consumer = Consumer(
        SERVICE,
        routes,
        settings=ServiceSettings(database_url=url, broker_url=through or broker_url),
        dependencies={Script: script},
    )
    await _make_schema(database_url, schema)
    broker = await aio_pika.connect(broker_url)
    async with broker, queues(broker, broker_url, SERVICE, routes), consumer.running(Litestar([])):

        async def hears() -> bool:
            names = [name for route in routes for name in route.queues(SERVICE).values()]
            counts = [await consumer.publisher.count(name) for name in names]
            return all(consumers for _, consumers in counts)

        await eventually(hears, SECONDS)
        yield Probe(consumer, script, broker)


def to_outbox_message(message: Message, *, attempt: int = 0) -> OutboxMessage:
    """The message as a relay reads it from an outbox."""
    return OutboxMessage(
        id=message.id,
        queue="",
        name=message.name(),
        dataset=message.dataset,
        subject=str(getattr(message, "job_id", "")),
        command=isinstance(message, Command),
        lane=message.lane,
        mandatory=bool(message.receivers),
        attempt=attempt,
        data=message.encode(),
        created_at=dt.datetime.now(dt.UTC),
        sent_at=dt.datetime.now(dt.UTC),
    )


def to_envelope(message: Message, **changed: object) -> bytes:
    """A body as the publisher writes it, with some attributes changed."""
    envelope = {
        "specversion": "1.0",
        "id": str(message.id),
        "source": "/millrace/tests",
        "type": message.name(),
        "subject": "",
        "time": "2021-11-07T02:48:42Z",
        "dataset": message.dataset,
        "data": msgspec.Raw(message.encode()),
    }
    return msgspec.json.encode({**envelope, **changed})


def count(message: type[Message], result: str) -> float:
    """How many messages of the type have ended so since this process began."""
    return float(metrics.MESSAGES.labels(message.name(), result)._value.get())


@contextlib.asynccontextmanager
async def queues(
    broker: aio_pika.abc.AbstractConnection, url: str, service: str, routes: tuple[Route, ...]
) -> AsyncIterator[None]:
    names = await topology.declare(url, {service: routes})
    try:
        yield
    finally:
        async with broker.channel() as channel:
            for name in names:
                await channel.queue_delete(name)


async def _make_schema(database_url: str, schema: str) -> None:
    admin = await asyncpg.connect(database_url)
    try:
        await admin.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}")
        for path in MIGRATIONS:
            await admin.execute(path.read_text())
        await admin.execute("CREATE TABLE marks (number integer NOT NULL)")
    finally:
        await admin.close()
