"""Queries about jobs that analytics does: what is wanted of them, and what of them is lost."""

from uuid import UUID

import msgspec

from services.gateway.job import COMMANDS
from shared.contracts.commands import RefreshReport
from shared.contracts.events import ReportRefreshed, RollupRebuilt
from shared.contracts.message import Message
from shared.db import Connection

EVENTS: dict[str, type[Message]] = {"refresh": ReportRefreshed, "rebuild": RollupRebuilt}
IDLE = """
    NOT EXISTS (SELECT FROM analytics.chunks WHERE done_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (SELECT FROM analytics.refreshes WHERE done_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (
        SELECT FROM pg_locks WHERE relation = 'analytics.inbox'::regclass AND mode = 'RowExclusiveLock'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
"""
"""Whether analytics has done nothing for so long, and is at nothing: whoever handles a message has claimed it."""


async def select_wanted(db: Connection, job_id: UUID) -> dict[str, int]:
    """The versions of datasets that those who have asked for a refresh want to see."""
    wanted: dict[str, int] | None = await db.fetchval("SELECT wanted FROM jobs WHERE id = $1", job_id)
    return wanted or {}


async def update_command(db: Connection, command: RefreshReport) -> None:
    """What was asked last for the job, should it be lost."""
    await db.execute("UPDATE jobs SET command = $2 WHERE id = $1", command.job_id, command)


async def select_unanswered(db: Connection, *, seconds: float, limit: int) -> list[Message]:
    """Refreshes and rebuilds that were asked for so long ago, though analytics has done nothing else for so long."""
    rows = await db.fetch(
        f"""
        SELECT j.kind, j.command::text AS command FROM jobs j
        WHERE j.kind IN ('refresh', 'rebuild') AND j.finished_at IS NULL
          AND j.updated_at < now() - $1 * interval '1 second'
          AND NOT EXISTS (
              SELECT FROM analytics.refreshes r
              WHERE r.job_id = j.id AND r.round = coalesce((j.command->>'round')::int, 1)
          )
          AND NOT EXISTS (SELECT FROM analytics.outbox o WHERE o.subject = j.id::text) -- put off, not lost
          AND {IDLE}
        ORDER BY j.created_at LIMIT $2
        """,
        seconds,
        limit,
    )
    return [msgspec.json.decode(row["command"], type=COMMANDS[row["kind"]]) for row in rows]


async def select_unheard(db: Connection, *, seconds: float, limit: int) -> list[Message]:
    """What analytics has said so long ago, and we have not heard."""
    rows = await db.fetch(
        """
        SELECT j.kind, r.event::text AS event FROM jobs j
        JOIN analytics.refreshes r ON r.job_id = j.id AND r.round = coalesce((j.command->>'round')::int, 1)
        WHERE j.finished_at IS NULL AND r.done_at < now() - $1 * interval '1 second' LIMIT $2
        """,
        seconds,
        limit,
    )
    return [EVENTS[row["kind"]].decode(row["event"].encode()) for row in rows]
