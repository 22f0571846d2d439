"""Schedules of sources and their ticks: which ticks are due, and queries."""

import datetime as dt
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.catalog.schedule import Schedule, find_mistakes, next_after
from shared.db import Connection
from shared.reads.ingestor import sources

TickFate = Literal["ran", "skipped", "missed"]
TICK_FATES: tuple[TickFate, ...] = ("ran", "skipped", "missed")
MAX_TICKS = 1000
"""Ticks of a schedule that one transaction fires; after a long outage, the next transaction continues."""
DECLARATIONS_LOCK = 0x7469636B


class SourceSchedule(msgspec.Struct, frozen=True):
    """The schedule of a source and the time of its next tick."""

    dataset: str
    source: str
    schedule: Schedule
    next_at: dt.datetime


class DueTicks(msgspec.Struct, frozen=True):
    """Due ticks, and the time of the next one. Of these only the last may run: it `runs` unless it is too late."""

    earlier: list[dt.datetime]
    last: dt.datetime
    runs: bool
    next_at: dt.datetime


class Tick(msgspec.Struct, frozen=True):
    """A past tick. `job_id` is the sync that it started, or the running one that it was skipped for."""

    due_at: dt.datetime
    fate: TickFate
    job_id: UUID | None


def find_due_ticks(schedule: Schedule, due_at: dt.datetime, now: dt.datetime) -> DueTicks:
    """Returns the ticks from `due_at` to `now`, at most MAX_TICKS before the last one."""
    earlier: list[dt.datetime] = []
    last, following = due_at, next_after(schedule, due_at)
    while following <= now and len(earlier) < MAX_TICKS:
        earlier.append(last)
        last, following = following, next_after(schedule, following)
    # If more ticks are due, a later one may run instead of this one.
    runs = following > now and now - last <= dt.timedelta(seconds=schedule.catch_up_seconds)
    return DueTicks(earlier, last, runs, following)


async def apply_declarations(db: Connection) -> None:
    """Inserts, updates and deletes schedules as declared. A new cron or time zone takes effect from now on."""
    # Without the lock, a gateway with an older declaration could overwrite a newer schedule.
    await db.execute("SELECT pg_advisory_xact_lock($1)", DECLARATIONS_LOCK)
    now: dt.datetime = await db.fetchval("SELECT now()")
    declared = await sources.select_schedules(db)
    stored = {(entry.dataset, entry.source): entry for entry in await select_schedules(db)}
    for (dataset, source), schedule in declared.items():
        before = stored.get((dataset, source))
        if find_mistakes(schedule):
            continue  # another gateway may know the time zone
        if before is None or _timing(before.schedule) != _timing(schedule):
            await _upsert(db, SourceSchedule(dataset, source, schedule, next_after(schedule, now)))
        elif before.schedule != schedule:
            await _update_options(db, dataset, source, schedule)
    for dataset, source in stored.keys() - declared.keys():
        await db.execute("DELETE FROM schedules WHERE dataset = $1 AND source = $2", dataset, source)


async def select_schedules(db: Connection) -> list[SourceSchedule]:
    """Returns all schedules, sorted by dataset and source."""
    rows = await db.fetch("SELECT dataset, source, schedule, next_at FROM schedules ORDER BY dataset, source")
    return [_to_source_schedule(row) for row in rows]


async def select_due(db: Connection) -> list[tuple[str, str]]:
    """Returns dataset and source of the schedules with a due tick, the longest overdue first."""
    rows = await db.fetch("SELECT dataset, source FROM schedules WHERE next_at <= now() ORDER BY next_at")
    return [(row["dataset"], row["source"]) for row in rows]


async def lock_due(db: Connection, dataset: str, source: str) -> tuple[SourceSchedule, dt.datetime] | None:
    """Locks a due schedule and returns it with Postgres' time, or None if another gateway locks or has fired it."""
    row = await db.fetchrow(
        "SELECT dataset, source, schedule, next_at, now() FROM schedules"
        " WHERE dataset = $1 AND source = $2 AND next_at <= now() FOR UPDATE SKIP LOCKED",
        dataset,
        source,
    )
    return (_to_source_schedule(row), row["now"]) if row else None


async def insert_ticks(db: Connection, entry: SourceSchedule, ticks: list[dt.datetime]) -> set[dt.datetime]:
    """Inserts ticks as missed; returns those that are new."""
    rows = await db.fetch(
        "INSERT INTO ticks (dataset, source, due_at, fate) SELECT $1, $2, due_at, 'missed'"
        " FROM unnest($3::timestamptz[]) AS t (due_at) ON CONFLICT DO NOTHING RETURNING due_at",
        entry.dataset,
        entry.source,
        ticks,
    )
    return {row["due_at"] for row in rows}


async def update_tick(db: Connection, entry: SourceSchedule, tick: Tick) -> None:
    """Updates the fate and the job of a tick."""
    await db.execute(
        "UPDATE ticks SET fate = $4, job_id = $5 WHERE dataset = $1 AND source = $2 AND due_at = $3",
        entry.dataset,
        entry.source,
        tick.due_at,
        tick.fate,
        tick.job_id,
    )


async def update_next_at(db: Connection, entry: SourceSchedule, next_at: dt.datetime) -> None:
    """Updates the time of the next tick."""
    await db.execute(
        "UPDATE schedules SET next_at = $3 WHERE dataset = $1 AND source = $2", entry.dataset, entry.source, next_at
    )


async def select_ticks(db: Connection, limit: int) -> dict[tuple[str, str], list[Tick]]:
    """Returns the last ticks of every schedule, newest first, by dataset and source."""
    rows = await db.fetch(
        """
        SELECT s.dataset, s.source, t.due_at, t.fate, t.job_id FROM schedules s CROSS JOIN LATERAL (
            SELECT * FROM ticks WHERE dataset = s.dataset AND source = s.source ORDER BY due_at DESC LIMIT $1
        ) t ORDER BY t.due_at DESC
        """,
        limit,
    )
    ticks: dict[tuple[str, str], list[Tick]] = {}
    for row in rows:
        ticks.setdefault((row["dataset"], row["source"]), []).append(Tick(row["due_at"], row["fate"], row["job_id"]))
    return ticks


async def count_ticks(db: Connection) -> dict[TickFate, int]:
    """Returns the number of ticks of the last hour by fate."""
    rows = await db.fetch("SELECT fate, count(*) FROM ticks WHERE decided_at > now() - interval '1 hour' GROUP BY fate")
    return {**dict.fromkeys(TICK_FATES, 0), **{row["fate"]: row["count"] for row in rows}}


async def _upsert(db: Connection, entry: SourceSchedule) -> None:
    await db.execute(
        "INSERT INTO schedules (dataset, source, schedule, next_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (dataset, source) DO UPDATE SET schedule = excluded.schedule, next_at = excluded.next_at",
        entry.dataset,
        entry.source,
        msgspec.to_builtins(entry.schedule),
        entry.next_at,
    )


async def _update_options(db: Connection, dataset: str, source: str, schedule: Schedule) -> None:
    await db.execute(
        "UPDATE schedules SET schedule = $3 WHERE dataset = $1 AND source = $2",
        dataset,
        source,
        msgspec.to_builtins(schedule),
    )


def _timing(schedule: Schedule) -> tuple[str, str]:
    return schedule.cron, schedule.timezone


def _to_source_schedule(row: Any) -> SourceSchedule:
    return SourceSchedule(row["dataset"], row["source"], msgspec.convert(row["schedule"], Schedule), row["next_at"])
