"""Recovery of jobs that analytics owns."""

from services.gateway.jobs.kinds import find
from services.gateway.jobs.recovery import Commands, Recovery
from shared.contracts.message import Message
from shared.db import Connection

IDLE = """
    NOT EXISTS (SELECT FROM analytics.chunks WHERE done_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (SELECT FROM analytics.refreshes WHERE done_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (
        SELECT FROM pg_locks WHERE relation = 'analytics.inbox'::regclass AND mode = 'RowExclusiveLock'
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
"""
"""Includes that no transaction has claimed a message."""


async def select_lost_commands(db: Connection, commands: Commands, seconds: float, limit: int) -> list[Message]:
    """Selects the commands of overdue jobs, if analytics has been idle."""
    rows = await db.fetch(
        f"""
        SELECT j.kind, j.command::text AS command FROM jobs j
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL
          AND j.updated_at < now() - $1 * interval '1 second'
          AND NOT EXISTS (
              SELECT FROM analytics.refreshes r
              WHERE r.job_id = j.id AND r.round = coalesce((j.command->>'round')::int, 1)
          )
          AND NOT EXISTS (SELECT FROM analytics.outbox o WHERE o.subject = j.id::text) -- waits for a retry
          AND {IDLE}
        ORDER BY j.created_at LIMIT $2
        """,
        seconds,
        limit,
        list(commands),
    )
    return [commands[row["kind"]].decode(row["command"].encode()) for row in rows]


async def select_lost_events(db: Connection, kinds: list[str], seconds: float, limit: int) -> list[Message]:
    """Selects events that analytics has recorded and that have not arrived."""
    rows = await db.fetch(
        """
        SELECT j.kind, r.event::text AS event FROM jobs j
        JOIN analytics.refreshes r ON r.job_id = j.id AND r.round = coalesce((j.command->>'round')::int, 1)
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL
          AND r.done_at < now() - $1 * interval '1 second' LIMIT $2
        """,
        seconds,
        limit,
        kinds,
    )
    return [find(row["kind"]).routes[0].message.decode(row["event"].encode()) for row in rows]


ANALYTICS = Recovery(select_lost_commands, select_lost_events, IDLE)
