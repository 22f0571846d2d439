"""Recovery of jobs that the indexer owns."""

from services.gateway.jobs.recovery import Commands, Recovery
from shared.contracts.events import SearchCompleted
from shared.contracts.message import Message
from shared.db import Connection

IDLE = """
    NOT EXISTS (SELECT FROM indexer.searches WHERE made_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (SELECT FROM indexer.chunks WHERE done_at > now() - $1 * interval '1 second')
    AND NOT EXISTS (SELECT FROM indexer.pieces WHERE done_at > now() - $1 * interval '1 second')
"""
"""Includes that no documents are indexed or built: searches wait for them."""


async def select_lost_commands(db: Connection, commands: Commands, seconds: float, limit: int) -> list[Message]:
    """Selects the commands of overdue jobs, if the indexer has been idle."""
    rows = await db.fetch(
        f"""
        SELECT j.kind, j.command::text AS command FROM jobs j
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL AND j.created_at < now() - $1 * interval '1 second'
          AND NOT EXISTS (SELECT FROM indexer.searches s WHERE s.job_id = j.id)
          AND NOT EXISTS (SELECT FROM indexer.outbox o WHERE o.subject = j.id::text) -- waits for a retry
          AND {IDLE}
        ORDER BY j.created_at LIMIT $2
        """,
        seconds,
        limit,
        list(commands),
    )
    return [commands[row["kind"]].decode(row["command"].encode()) for row in rows]


async def select_lost_events(db: Connection, kinds: list[str], seconds: float, limit: int) -> list[Message]:
    """Selects results that the indexer has stored and that have not arrived."""
    rows = await db.fetch(
        """
        SELECT j.dataset, j.id AS job_id, cardinality(s.hits) AS hits,
               (s.answer->'total'->>'value')::bigint AS total, (s.answer->'meta'->>'version')::bigint AS version
        FROM jobs j JOIN indexer.searches s ON s.job_id = j.id
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL
          AND s.made_at < now() - $1 * interval '1 second' LIMIT $2
        """,
        seconds,
        limit,
        kinds,
    )
    return [SearchCompleted(**row) for row in rows]


INDEXER = Recovery(select_lost_commands, select_lost_events, IDLE)
