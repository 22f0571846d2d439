"""When each schedule is due, what is to become of its ticks, and what became of those before."""

import datetime as dt
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.catalog.schedule import Schedule, find_mistakes, next_after
from shared.db import Connection

Fate = Literal["ran", "skipped", "missed"]
FATES: tuple[Fate, ...] = ("ran", "skipped", "missed")
AT_ONCE = 1000
LOCK = 0x7469636B


class Scheduled(msgspec.Struct, frozen=True):
    """A schedule and its next tick."""

    dataset: str
    source: str
    schedule: Schedule
    next_at: dt.datetime


class Due(msgspec.Struct, frozen=True):
    """Ticks that have come: the `last` one and those `before` it; `runs` if the last is not too late; and the next."""

    before: list[dt.datetime]
    last: dt.datetime
    runs: bool
    next_at: dt.datetime


class Tick(msgspec.Struct, frozen=True):
    """What became of a tick. `job_id` is the sync that it began, or for which it was skipped."""

    due_at: dt.datetime
    fate: Fate
    job_id: UUID | None


def decide(schedule: Schedule, due_at: dt.datetime, now: dt.datetime) -> Due:
    """Of a tick that is due at or before `now`, and those that have come since, at most AT_ONCE of them."""
    before: list[dt.datetime] = []
    last, following = due_at, next_after(schedule, due_at)
    while following <= now and len(before) < AT_ONCE:
        before.append(last)
        last, following = following, next_after(schedule, following)
    # If there are still more, this one is not the last: then none of these runs.
    runs = following > now and now - last <= dt.timedelta(seconds=schedule.catch_up_seconds)
    return Due(before, last, runs, following)


async def keep_in_step(db: Connection) -> None:
    """With the declarations: a new or changed schedule is due next after now, one that is gone never again."""
    # Without the lock, a gateway that has read an old declaration could undo what another has learned from a newer one.
    await db.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    now: dt.datetime = await db.fetchval("SELECT now()")
    declared = await _select_declared(db)
    kept = {(one.dataset, one.source): one for one in await select_all(db)}
    for (dataset, source), schedule in declared.items():
        before = kept.get((dataset, source))
        if find_mistakes(schedule):
            continue  # of a time zone that is not known here, another gateway may know
        if before is None or _times(before.schedule) != _times(schedule):
            await _upsert(db, Scheduled(dataset, source, schedule, next_after(schedule, now)))
        elif before.schedule != schedule:
            await _update_terms(db, dataset, source, schedule)
    for dataset, source in kept.keys() - declared.keys():
        await db.execute("DELETE FROM schedules WHERE dataset = $1 AND source = $2", dataset, source)


async def select_all(db: Connection) -> list[Scheduled]:
    """By dataset and source."""
    rows = await db.fetch("SELECT dataset, source, schedule, next_at FROM schedules ORDER BY dataset, source")
    return [_scheduled(row) for row in rows]


async def select_due(db: Connection) -> list[tuple[str, str]]:
    """Dataset and source of those whose time has come."""
    rows = await db.fetch("SELECT dataset, source FROM schedules WHERE next_at <= now() ORDER BY next_at")
    return [(row["dataset"], row["source"]) for row in rows]


async def lock_due(db: Connection, dataset: str, source: str) -> tuple[Scheduled, dt.datetime] | None:
    """The schedule and Postgres' time, unless another gateway has it or had it: whoever gets it fires its ticks."""
    row = await db.fetchrow(
        "SELECT dataset, source, schedule, next_at, now() FROM schedules"
        " WHERE dataset = $1 AND source = $2 AND next_at <= now() FOR UPDATE SKIP LOCKED",
        dataset,
        source,
    )
    return (_scheduled(row), row["now"]) if row else None


async def insert_missed(db: Connection, one: Scheduled, ticks: list[dt.datetime]) -> set[dt.datetime]:
    """As missed until something better becomes of them; returns those that were not decided before."""
    rows = await db.fetch(
        "INSERT INTO ticks (dataset, source, due_at, fate) SELECT $1, $2, due_at, 'missed'"
        " FROM unnest($3::timestamptz[]) AS t (due_at) ON CONFLICT DO NOTHING RETURNING due_at",
        one.dataset,
        one.source,
        ticks,
    )
    return {row["due_at"] for row in rows}


async def update_tick(db: Connection, one: Scheduled, tick: Tick) -> None:
    """What became of it after all."""
    await db.execute(
        "UPDATE ticks SET fate = $4, job_id = $5 WHERE dataset = $1 AND source = $2 AND due_at = $3",
        one.dataset,
        one.source,
        tick.due_at,
        tick.fate,
        tick.job_id,
    )


async def update_next(db: Connection, one: Scheduled, next_at: dt.datetime) -> None:
    """The ticks until then are decided."""
    await db.execute(
        "UPDATE schedules SET next_at = $3 WHERE dataset = $1 AND source = $2", one.dataset, one.source, next_at
    )


async def select_ticks(db: Connection, limit: int) -> dict[tuple[str, str], list[Tick]]:
    """The last ones of every schedule, newest first."""
    rows = await db.fetch(
        """
        SELECT s.dataset, s.source, t.due_at, t.fate, t.job_id FROM schedules s CROSS JOIN LATERAL (
            SELECT * FROM ticks WHERE dataset = s.dataset AND source = s.source ORDER BY due_at DESC LIMIT $1
        ) t ORDER BY t.due_at DESC
        """,
        limit,
    )
    found: dict[tuple[str, str], list[Tick]] = {}
    for row in rows:
        found.setdefault((row["dataset"], row["source"]), []).append(Tick(row["due_at"], row["fate"], row["job_id"]))
    return found


async def select_fates(db: Connection) -> dict[Fate, int]:
    """How many ticks of the last hour came to what."""
    rows = await db.fetch("SELECT fate, count(*) FROM ticks WHERE decided_at > now() - interval '1 hour' GROUP BY fate")
    return {**dict.fromkeys(FATES, 0), **{row["fate"]: row["count"] for row in rows}}


async def _select_declared(db: Connection) -> dict[tuple[str, str], Schedule]:
    rows = await db.fetch(
        """
        SELECT d.name AS dataset, s.source->>'name' AS source, s.source->'schedule' AS schedule
        FROM ingestor.datasets d, json_array_elements(d.declaration->'sources') AS s (source)
        WHERE json_typeof(s.source->'schedule') = 'object'
        """
    )
    return {(row["dataset"], row["source"]): msgspec.convert(row["schedule"], Schedule) for row in rows}


async def _upsert(db: Connection, one: Scheduled) -> None:
    await db.execute(
        "INSERT INTO schedules (dataset, source, schedule, next_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (dataset, source) DO UPDATE SET schedule = excluded.schedule, next_at = excluded.next_at",
        one.dataset,
        one.source,
        msgspec.to_builtins(one.schedule),
        one.next_at,
    )


async def _update_terms(db: Connection, dataset: str, source: str, schedule: Schedule) -> None:
    await db.execute(
        "UPDATE schedules SET schedule = $3 WHERE dataset = $1 AND source = $2",
        dataset,
        source,
        msgspec.to_builtins(schedule),
    )


def _times(schedule: Schedule) -> tuple[str, str]:
    return schedule.cron, schedule.timezone


def _scheduled(row: Any) -> Scheduled:
    return Scheduled(row["dataset"], row["source"], msgspec.convert(row["schedule"], Schedule), row["next_at"])
