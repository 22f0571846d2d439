"""Queries of the sweeper: what the ledgers of the other services say and the gateway has not heard."""

from uuid import UUID

import msgspec

from shared import ledger
from shared.contracts.commands import PlanImport
from shared.contracts.events import ChunkCounted, ChunkIndexed, ImportPlanned
from shared.contracts.message import Message
from shared.db import Connection


async def select_unplanned(db: Connection, *, seconds: float, limit: int) -> list[PlanImport]:
    """Jobs that the ingestor knows nothing of, though it has planned no other job for so long."""
    rows = await db.fetch(
        """
        SELECT j.command FROM jobs j
        WHERE j.finished_at IS NULL AND j.chunks IS NULL AND j.created_at < now() - $1 * interval '1 second'
          AND NOT EXISTS (SELECT FROM ingestor.imports i WHERE i.job_id = j.id)
          AND NOT EXISTS (SELECT FROM ingestor.imports WHERE planned_at > now() - $1 * interval '1 second')
          AND NOT EXISTS (SELECT FROM ingestor.chunks WHERE loaded_at > now() - $1 * interval '1 second')
        ORDER BY j.created_at LIMIT $2
        """,
        seconds,
        limit,
    )
    return [msgspec.convert(row["command"], PlanImport) for row in rows]


async def select_unheard(db: Connection, *, seconds: float, limit: int) -> list[Message]:
    """Events that happened so long ago according to the ledgers, and that we have not heard."""
    plans = await db.fetch(
        """
        SELECT i.dataset, i.job_id, i.chunks,
               (SELECT coalesce(sum(end_byte - start_byte), 0)::bigint
                FROM ingestor.chunks c WHERE c.job_id = i.job_id) AS bytes
        FROM jobs j JOIN ingestor.imports i ON i.job_id = j.id
        WHERE j.finished_at IS NULL AND j.chunks IS NULL AND i.planned_at < now() - $1 * interval '1 second' LIMIT $2
        """,
        seconds,
        limit,
    )
    rows = await db.fetch(
        """
        SELECT c.*, coalesce(g.loaded, false) AS heard_loaded,
               i.ledger IS NOT NULL AND NOT coalesce(g.indexed, false) AS unheard_indexed, i.documents,
               a.ledger IS NOT NULL AND NOT coalesce(g.counted, false) AS unheard_counted, a.groups
        FROM jobs j JOIN ingestor.chunks c ON c.job_id = j.id
        LEFT JOIN indexer.chunks i USING (ledger) LEFT JOIN analytics.chunks a USING (ledger)
        LEFT JOIN chunks g ON g.job_id = j.id AND g.chunk = c.chunk
        WHERE j.finished_at IS NULL AND j.updated_at < now() - $1 * interval '1 second'
          AND greatest(c.loaded_at, i.done_at, a.done_at) < now() - $1 * interval '1 second'
          AND (NOT coalesce(g.loaded, false)
               OR i.ledger IS NOT NULL AND NOT coalesce(g.indexed, false)
               OR a.ledger IS NOT NULL AND NOT coalesce(g.counted, false))
        LIMIT $2
        """,
        seconds,
        limit,
    )
    found: list[Message] = [ImportPlanned(**plan) for plan in plans]
    for row in rows:
        about = {"dataset": row["dataset"], "job_id": row["job_id"], "chunk": row["chunk"]}
        if not row["heard_loaded"]:
            found.append(ledger.to_event(row))
        if row["unheard_indexed"]:
            found.append(ChunkIndexed(**about, documents=row["documents"]))
        if row["unheard_counted"]:
            found.append(ChunkCounted(**about, groups=row["groups"]))
    return found


async def select_stalled(db: Connection, *, seconds: float, limit: int) -> list[UUID]:
    """Jobs of which nothing was heard for so long, though no other job kept the ingestor busy; after a day, all."""
    rows = await db.fetch(
        """
        SELECT id FROM jobs
        WHERE finished_at IS NULL AND updated_at < now() - $1 * interval '1 second'
          AND (created_at < now() - interval '1 day'
               OR NOT EXISTS (SELECT FROM ingestor.chunks WHERE loaded_at > now() - $1 * interval '1 second'))
        LIMIT $2
        """,
        seconds,
        limit,
    )
    return [row["id"] for row in rows]


async def select_needed_files(db: Connection, files: list[str]) -> set[str]:
    """Those of the spool's files that a job may still read."""
    rows = await db.fetch(
        """
        SELECT command->>'file' AS file FROM jobs
        WHERE command->>'file' = ANY($1::text[]) AND (finished_at IS NULL OR finished_at > now() - interval '1 hour')
        """,
        files,
    )
    return {row["file"] for row in rows}


async def forget_idempotency_keys(db: Connection) -> None:
    """They bind for a day."""
    await db.execute(
        "UPDATE jobs SET idempotency_key = NULL"
        " WHERE idempotency_key IS NOT NULL AND created_at < now() - interval '24 hours'"
    )
