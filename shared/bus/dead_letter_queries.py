"""Queries over the dead letters of all services."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from shared.bus.dead_letters import REDRIVABLE, Reason
from shared.bus.ledger import of_all_services
from shared.contracts.parts import Problem
from shared.db import Connection

State = Literal["dead", "redriven", "discarded"]
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", max_length=255)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
MAX_IDS = 10_000
LETTERS = of_all_services("dead_letters", f"*, {REDRIVABLE} AS redrivable")
ATTEMPTS = of_all_services("attempts")


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selects dead letters: all conditions must hold. Those of canceled jobs are selected by their `reason` only.

    `older_than` and `newer_than` are seconds since the message was given up.
    """

    service: Text | None = None
    message: Text | None = None
    dataset: Text | None = None
    job: UUID | None = None
    reason: Reason | None = None
    older_than: Seconds | None = None
    newer_than: Seconds | None = None
    ids: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=MAX_IDS)] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the filter has no condition."""
        return all(getattr(self, name) is None for name in LetterFilter.__struct_fields__)


class Position(msgspec.Struct, frozen=True):
    """The place of a letter in a list, newest first."""

    died_at: dt.datetime
    service: str
    id: UUID


class ListedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter of a service, with the beginning of its data, which have `data_bytes` bytes."""

    service: str
    id: UUID
    queue: str
    name: str
    dataset: str
    job_id: UUID | None
    reason: Reason
    state: State
    problem: Problem
    attempts: int
    created_at: dt.datetime
    died_at: dt.datetime
    age_seconds: float
    redriven: int
    redrivable: bool
    data_bytes: int
    data: bytes


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a message. `problem` is null if it killed its process."""

    number: int
    worker: str
    began_at: dt.datetime
    problem: Problem | None


class LetterCount(msgspec.Struct, frozen=True, kw_only=True):
    """Number of letters with the same service, message and reason."""

    service: str
    message: str
    reason: Reason
    count: int


class LetterRef(msgspec.Struct, frozen=True, kw_only=True):
    """A letter to settle; `redriven` is how often it was redriven before."""

    service: str
    id: UUID
    job_id: UUID | None
    redriven: int


async def select_letters(
    db: Connection, letter_filter: LetterFilter, state: State, *, limit: int, after: Position | None, data_bytes: int
) -> list[ListedLetter]:
    """Returns a page of letters, newest first, with the first `data_bytes` of their data."""
    where, values = _condition(letter_filter, state)
    if after is not None:
        values += [after.died_at, after.service, after.id]
        places = ", ".join(f"${number}" for number in range(len(values) - 2, len(values) + 1))
        where += f" AND (died_at, service, id) < ({places})"
    rows = await db.fetch(
        f"""
        SELECT service, id, queue, name, dataset, job_id, reason, state, problem, attempts, created_at, died_at,
               extract(epoch FROM now() - died_at)::float8 AS age_seconds, redriven, redrivable,
               octet_length(data) AS data_bytes,
               substring(data FOR {data_bytes}) AS data
        FROM {LETTERS} l WHERE {where} ORDER BY died_at DESC, service DESC, id DESC LIMIT {limit}
        """,
        *values,
    )
    return [msgspec.convert(dict(row), ListedLetter) for row in rows]


async def select_attempts(db: Connection, letters: Sequence[ListedLetter]) -> dict[tuple[str, UUID], list[Attempt]]:
    """Returns the recorded attempts at the letters, by service and id, in their order."""
    rows = await db.fetch(
        f"""
        SELECT service, message_id, number, worker, began_at, problem
        FROM {ATTEMPTS} a JOIN unnest($1::text[], $2::uuid[]) AS l (service, message_id) USING (service, message_id)
        ORDER BY number
        """,
        [letter.service for letter in letters],
        [letter.id for letter in letters],
    )
    found: dict[tuple[str, UUID], list[Attempt]] = {}
    for row in rows:
        attempt = msgspec.convert({name: row[name] for name in Attempt.__struct_fields__}, Attempt)
        found.setdefault((row["service"], row["message_id"]), []).append(attempt)
    return found


async def count_letters(db: Connection, letter_filter: LetterFilter, state: State) -> tuple[list[LetterCount], int]:
    """Counts the letters by service, message and reason; returns also how many of them can't be redriven."""
    where, values = _condition(letter_filter, state)
    rows = await db.fetch(
        f"""
        SELECT service, name AS message, reason, count(*), count(*) FILTER (WHERE NOT redrivable) AS fixed
        FROM {LETTERS} l WHERE {where} GROUP BY service, name, reason ORDER BY count(*) DESC, service, name, reason
        """,
        *values,
    )
    counts = [LetterCount(**{name: row[name] for name in LetterCount.__struct_fields__}) for row in rows]
    return counts, sum(row["fixed"] for row in rows)


async def select_refs(db: Connection, letter_filter: LetterFilter, *, redrivable: bool, limit: int) -> list[LetterRef]:
    """Returns the oldest letters to settle, only those that can be redriven if `redrivable`."""
    where, values = _condition(letter_filter, "dead")
    rows = await db.fetch(
        f"""
        SELECT service, id, job_id, redriven FROM {LETTERS} l WHERE {where} {"AND redrivable" if redrivable else ""}
        ORDER BY died_at, service, id LIMIT {limit}
        """,
        *values,
    )
    return [LetterRef(**row) for row in rows]


async def count_settled(db: Connection, refs: Sequence[LetterRef]) -> int:
    """Counts those of the letters that were redriven or discarded since they were selected."""
    count: int = await db.fetchval(
        f"""
        SELECT count(*) FROM {LETTERS} l
        JOIN unnest($1::text[], $2::uuid[], $3::int[]) AS r (service, id, redriven) USING (service, id)
        WHERE l.redriven > r.redriven OR l.state = 'discarded'
        """,
        [ref.service for ref in refs],
        [ref.id for ref in refs],
        [ref.redriven for ref in refs],
    )
    return count


def _condition(letter_filter: LetterFilter, state: State) -> tuple[str, list[Any]]:
    """Returns the condition and its values. The state is a literal, so that the index of dead letters is used."""
    conditions = {
        "service = {}": letter_filter.service,
        "name = {}": letter_filter.message,
        "dataset = {}": letter_filter.dataset,
        "job_id = {}": letter_filter.job,
        "reason = {}": letter_filter.reason,
        "died_at <= now() - {}::float8 * interval '1 second'": letter_filter.older_than,
        "died_at > now() - {}::float8 * interval '1 second'": letter_filter.newer_than,
        "id = ANY({}::uuid[])": letter_filter.ids,
    }
    used = [(condition, value) for condition, value in conditions.items() if value is not None]
    parts = [condition.format(f"${number}") for number, (condition, _) in enumerate(used, 1)]
    if letter_filter.reason is None:
        parts.append("reason <> 'canceled'")
    return " AND ".join([f"state = '{state}'", *parts]), [value for _, value in used]
