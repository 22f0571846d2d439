"""The open work of a job: its messages, where they wait, and behind how many others."""

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from services.gateway.jobs import cancellations
from services.gateway.jobs.cancellations import Reason
from shared.bus import open_messages
from shared.bus.open_messages import Attempt, DeadLetter, OpenMessage
from shared.bus.routes import queue_name
from shared.contracts.parts import Problem
from shared.db import Connection

SHOWN = 20
"""Entries of each list."""
State = Literal["unsent", "sent", "retrying"]


class WaitingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that `service` has not ended.

    `state` is `unsent` until the broker has it; then `sent`, while it waits in the queue or is being handled; and
    `retrying` while it waits until `due_at` for another attempt. `problem` is the error of the last one.
    """

    id: UUID
    name: str
    service: str
    queue: str
    state: State
    created_at: dt.datetime
    sent_at: dt.datetime | None
    due_at: dt.datetime | None
    attempts: int
    problem: Problem | None


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue with the first message of the job in it, and the number of messages that were sent before, up to 1000."""

    name: str
    service: str
    ahead: int


class OpenWork(msgspec.Struct, frozen=True, kw_only=True):
    """The open and the given-up messages of a job: at most SHOWN of each, and the numbers of all."""

    stopping: Reason | None
    messages: list[WaitingMessage]
    messages_total: int
    queues: list[Queue]
    dead_letters: list[DeadLetter]
    dead_letters_total: int
    attempts: list[Attempt]
    attempts_total: int

    def ahead(self, message: WaitingMessage) -> int:
        """The number of messages before the first one of the job in the queue of this message."""
        return next((queue.ahead for queue in self.queues if queue.name == message.queue), 0)


async def select_open_work(db: Connection, job_id: UUID) -> OpenWork:
    """Reads the ledger of all services."""
    messages_total, messages = await open_messages.select_open(db, job_id, SHOWN)
    dead_letters_total, dead_letters = await open_messages.select_dead_letters(db, job_id, SHOWN)
    attempts_total, attempts = await open_messages.select_attempts(db, job_id, SHOWN)
    return OpenWork(
        stopping=await cancellations.select_reason(db, job_id),
        messages=[_to_waiting(message) for message in messages],
        messages_total=messages_total,
        queues=await _select_queues(db, messages),
        dead_letters=dead_letters,
        dead_letters_total=dead_letters_total,
        attempts=attempts,
        attempts_total=attempts_total,
    )


async def _select_queues(db: Connection, messages: list[OpenMessage]) -> list[Queue]:
    """Returns the queues of the sent messages, with the number of messages before the first of the job in each."""
    first: dict[str, OpenMessage] = {}
    for message in messages:
        if message.sent_at is not None and message.due_at is None:
            name = _queue(message)
            if name not in first or message.sent_at < (first[name].sent_at or message.sent_at):
                first[name] = message
    return [
        Queue(name=name, service=message.service, ahead=await open_messages.count_ahead(db, message))
        for name, message in first.items()
    ]


def _to_waiting(message: OpenMessage) -> WaitingMessage:
    state: State = "retrying" if message.due_at else "sent" if message.sent_at else "unsent"
    fields = {name: getattr(message, name) for name in OpenMessage.__struct_fields__ if name != "lane"}
    return WaitingMessage(**fields, queue=_queue(message), state=state)


def _queue(message: OpenMessage) -> str:
    return queue_name(message.service, message.name, message.lane)
