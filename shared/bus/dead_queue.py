"""The broker's dead queue: messages that no service could read, or that were delivered too often.

The gateway takes them from there into its dead letters, so that all of them are in tables.
"""

import asyncio
import datetime as dt
import hashlib
from uuid import UUID, uuid5

import structlog
from faststream.rabbit import RabbitMessage

from shared.bus import dead_letters, ledger
from shared.bus.dead_letters import DeadLetter
from shared.bus.received import DECODE_ERRORS
from shared.bus.topology import DEAD
from shared.contracts import envelope
from shared.contracts.message import NAMESPACE
from shared.contracts.parts import Problem
from shared.db import Connection, Pool, transaction

RETRY_SECONDS = 1.0
UNKNOWN = "unknown"
log = structlog.get_logger()


class DeadQueue:
    """Takes the messages of the dead queue. The ledger knows those that were delivered too often: it drops them."""

    queue = DEAD
    concurrency = 1

    def __init__(self, service: str, pool: Pool) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._service = service
        self._pool = pool

    async def receive(self, delivery: RabbitMessage) -> None:
        """Stores or drops a message, then acknowledges it. Tries again until Postgres takes it."""
        while True:
            try:
                async with transaction(self._pool) as db:
                    await self._take(db, delivery)
            except Exception as error:
                log.warning("dead letter waits", error=repr(error), exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await delivery.ack()
                return

    async def _take(self, db: Connection, delivery: RabbitMessage) -> None:
        queue = _queue(delivery)
        message_id, detail = _read(delivery.body)
        if message_id is not None and await self._is_known(db, message_id, queue):
            log.warning("dead delivery dropped", queue=queue, id=str(message_id))
            return
        letter = _to_dead_letter(delivery, queue, detail)
        log.error("dead letter", queue=queue, id=str(letter.id), problem=detail)
        await dead_letters.insert_dead_letter(db, letter)

    async def _is_known(self, db: Connection, message_id: UUID, queue: str) -> bool:
        receiver = queue.partition(".")[0]
        return receiver in ledger.SERVICES and await ledger.is_known(
            db, message_id, reader=self._service, receiver=receiver
        )


def _read(body: bytes) -> tuple[UUID | None, str]:
    """Returns the id of the message, if its envelope can be read, and why it is dead."""
    try:
        return envelope.decode(body).id, "The queue is not for this message, and no service has sent it there."
    except DECODE_ERRORS as error:
        return None, f"The message can't be read: {error}"


def _queue(delivery: RabbitMessage) -> str:
    """Returns the queue that the message died in."""
    deaths = delivery.headers.get("x-death") or [{}]
    return _text(deaths[0].get("queue", DEAD))


def _to_dead_letter(delivery: RabbitMessage, queue: str, detail: str) -> DeadLetter:
    raw = delivery.raw_message
    return DeadLetter(
        id=uuid5(NAMESPACE, f"{queue}/{hashlib.sha256(delivery.body).hexdigest()}"),
        queue=queue,
        name=_text(raw.type or UNKNOWN),
        dataset="",
        job_id=None,
        data=delivery.body,
        command=False,
        reason="undecodable",
        problem=Problem(
            code="undecodable",
            detail=detail.replace("\x00", ""),
            hint="It can't be redriven. Look for a program that writes to the queue and is no part of Millrace.",
        ),
        attempts=0,
        created_at=raw.timestamp or dt.datetime.now(dt.UTC),
    )


def _text(value: object) -> str:
    """Returns a property of a message as text that Postgres can store."""
    return str(value).replace("\x00", "")
