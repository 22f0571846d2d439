"""Recovery of jobs: commands and events that are lost according to the ledgers of the other services."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared import ledger
from shared.contracts.commands import JobCommand
from shared.contracts.events import ChunkCounted, ChunkIndexed, ImportPlanned, ImportStopped, SourcePulled
from shared.contracts.message import Message
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection

COUNTS = Outcome.__struct_fields__
IDLE = "NOT EXISTS (SELECT FROM ingestor.chunks WHERE loaded_at > now() - $1 * interval '1 second')"
Commands = Mapping[str, type[JobCommand]]
"""The first command of each kind of job, by the kind's name."""


class Recovery(NamedTuple):
    """The queries that find lost messages of jobs in the ledgers of the service that owns the jobs."""

    lost_commands: Callable[[Connection, Commands, float, int], Awaitable[list[Message]]]
    """Selects the first commands of overdue jobs that the owner has not recorded, of all kinds with this recovery."""
    lost_events: Callable[[Connection, list[str], float, int], Awaitable[list[Message]]]
    """Selects events that the owner has recorded and the gateway has not received."""
    idle: str
    """An SQL condition: the owner has done nothing for $1 seconds."""


async def select_lost_commands(db: Connection, commands: Commands, seconds: float, limit: int) -> list[Message]:
    """Selects the commands of jobs that the ingestor has not planned, if it has been idle."""
    rows = await db.fetch(
        f"""
        SELECT j.kind, j.command::text AS command FROM jobs j
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL AND j.status = 'queued'
          AND j.created_at < now() - $1 * interval '1 second'
          AND NOT EXISTS (SELECT FROM ingestor.imports i WHERE i.job_id = j.id)
          AND NOT EXISTS (SELECT FROM ingestor.imports WHERE planned_at > now() - $1 * interval '1 second')
          AND {IDLE}
        ORDER BY j.created_at LIMIT $2
        """,
        seconds,
        limit,
        list(commands),
    )
    overdue: list[Message] = [commands[row["kind"]].decode(row["command"].encode()) for row in rows]
    # A command that waits for a retry is not lost.
    waiting = await db.fetch(
        "SELECT id FROM ingestor.outbox WHERE id = ANY($1::uuid[])", [command.id for command in overdue]
    )
    return [command for command in overdue if command.id not in {row["id"] for row in waiting}]


async def select_lost_events(db: Connection, kinds: list[str], seconds: float, limit: int) -> list[Message]:
    """Selects events that the ledgers recorded at least `seconds` ago and that have not arrived."""
    plans = await db.fetch(
        f"""
        SELECT i.dataset, i.job_id, i.chunks, i.source, i.warning, i.stopped, s.*
        FROM jobs j JOIN ingestor.imports i ON i.job_id = j.id, LATERAL (
            SELECT coalesce(sum(end_byte - start_byte), 0)::bigint AS bytes, max(loaded_at) AS loaded_at,
                   {", ".join(f"coalesce(sum({word}), 0)::bigint AS {word}" for word in COUNTS)}
            FROM ingestor.chunks c WHERE c.job_id = i.job_id
        ) s
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL
          AND (i.stopped IS NOT NULL OR j.chunks IS NULL AND i.chunks IS NOT NULL)
          AND coalesce(s.loaded_at, i.planned_at) < now() - $1 * interval '1 second'
        LIMIT $2
        """,
        seconds,
        limit,
        kinds,
    )
    rows = await db.fetch(
        """
        SELECT c.*, coalesce(g.loaded, false) AS has_loaded,
               i.ledger IS NOT NULL AND NOT coalesce(g.indexed, false) AS lost_indexed, i.documents,
               a.ledger IS NOT NULL AND NOT coalesce(g.counted, false) AS lost_counted, a.groups
        FROM jobs j JOIN ingestor.chunks c ON c.job_id = j.id
        LEFT JOIN indexer.chunks i USING (ledger) LEFT JOIN analytics.chunks a USING (ledger)
        LEFT JOIN chunks g ON g.job_id = j.id AND g.chunk = c.chunk
        WHERE j.kind = ANY($3::text[]) AND j.finished_at IS NULL AND j.updated_at < now() - $1 * interval '1 second'
          AND greatest(c.loaded_at, i.done_at, a.done_at) < now() - $1 * interval '1 second'
          AND (NOT coalesce(g.loaded, false)
               OR i.ledger IS NOT NULL AND NOT coalesce(g.indexed, false)
               OR a.ledger IS NOT NULL AND NOT coalesce(g.counted, false))
        LIMIT $2
        """,
        seconds,
        limit,
        kinds,
    )
    found: list[Message] = [_to_import_event(plan) for plan in plans]
    for row in rows:
        identity = {"dataset": row["dataset"], "job_id": row["job_id"], "chunk": row["chunk"]}
        if not row["has_loaded"]:
            found.append(ledger.to_event(row))
        if row["lost_indexed"]:
            found.append(ChunkIndexed(**identity, documents=row["documents"]))
        if row["lost_counted"]:
            found.append(ChunkCounted(**identity, groups=row["groups"]))
    return found


def _to_import_event(row: Any) -> ImportPlanned | SourcePulled | ImportStopped:
    identity: dict[str, Any] = {"dataset": row["dataset"], "job_id": row["job_id"]}
    if row["stopped"] is not None:
        outcome = Outcome(**{word: row[word] for word in COUNTS})
        return ImportStopped(**identity, problem=msgspec.convert(row["stopped"], Problem), outcome=outcome)
    warning = msgspec.convert(row["warning"], Problem) if row["warning"] else None
    kind = ImportPlanned if row["source"] is None else SourcePulled
    return kind(**identity, chunks=row["chunks"], bytes=row["bytes"], warning=warning)


async def select_stopped(db: Connection, job_id: UUID) -> Problem | None:
    """Selects the reason why the ingestor stopped a job, if it did."""
    stopped = await db.fetchval("SELECT stopped FROM ingestor.imports WHERE job_id = $1", job_id)
    return msgspec.convert(stopped, Problem) if stopped else None


async def select_stalled(
    db: Connection, kinds: list[str], idle: str, *, seconds: float, limit: int
) -> list[tuple[UUID, str]]:
    """Selects jobs (id and kind) without an event for `seconds` if their owner is `idle`; after a day in any case."""
    rows = await db.fetch(
        f"""
        SELECT id, kind FROM jobs
        WHERE kind = ANY($3::text[]) AND finished_at IS NULL AND updated_at < now() - $1 * interval '1 second'
          AND (created_at < now() - interval '1 day' OR {idle})
        LIMIT $2
        """,
        seconds,
        limit,
        kinds,
    )
    return [(row["id"], row["kind"]) for row in rows]


INGESTOR = Recovery(select_lost_commands, select_lost_events, IDLE)
"""The recovery of jobs that load chunks."""
