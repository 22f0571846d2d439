"""Queries about jobs and the chunks that they wait for."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from services.gateway.http.problems import not_found, parse_job_id
from services.gateway.jobs import kinds
from services.gateway.jobs.job import Job, JobRequest
from services.gateway.jobs.progress import Tally
from shared.contracts.events import ChunkCounted, ChunkIndexed, ChunkLoaded
from shared.contracts.parts import Outcome
from shared.db import Connection

COLUMNS = ", ".join(Job.__struct_fields__)
COUNTS = Outcome.__struct_fields__
NOTHING = msgspec.to_builtins(Outcome())


async def insert_jobs(db: Connection, asked: Sequence[JobRequest]) -> list[Job]:
    """Jobs whose first event is about to be told; none for what is there already, or under way for another."""
    rows = await db.fetch(
        f"""
        INSERT INTO jobs (id, kind, dataset, mode, source, replay_of, status, phase, command, api_key, idempotency_key,
                          fingerprint, bytes_total, bytes_planned, chunks, target, outcome, sequence)
        SELECT id, kind, dataset, mode, source, replay_of, 'queued',
               phase,
               command, api_key, idempotency_key, fingerprint, bytes_total,
               CASE WHEN chunks IS NOT NULL THEN bytes_total END, chunks, target, $15, 1
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::json[], $8::text[],
                    $9::text[], $10::text[], $11::bigint[], $12::int[], $13::text[], $14::text[])
             AS a (id, kind, dataset, mode, source, replay_of, command, api_key, idempotency_key, fingerprint,
                   bytes_total, chunks, target, phase)
        ON CONFLICT DO NOTHING
        RETURNING {COLUMNS}
        """,
        [one.command.job_id for one in asked],
        [one.kind for one in asked],
        [one.command.dataset for one in asked],
        [one.mode for one in asked],
        [one.source for one in asked],
        [one.replay_of for one in asked],
        [one.command for one in asked],
        [one.api_key for one in asked],
        [one.idempotency_key for one in asked],
        [one.fingerprint for one in asked],
        [one.bytes_total for one in asked],
        [one.chunks for one in asked],
        [one.target for one in asked],
        [kinds.find(one.kind).phase for one in asked],
        NOTHING,
    )
    return [_job(row) for row in rows]


async def select_asked(db: Connection, api_key: str, idempotency_key: str) -> tuple[Job, str] | None:
    """The job of an idempotency key, and the fingerprint of what was asked."""
    row = await db.fetchrow(
        f"SELECT {COLUMNS}, fingerprint FROM jobs WHERE api_key = $1 AND idempotency_key = $2", api_key, idempotency_key
    )
    return (_job(row), row["fingerprint"]) if row else None


async def select_job(db: Connection, job_id: UUID) -> tuple[Job, dt.datetime] | None:
    """As it stands, and when that was."""
    row = await db.fetchrow(f"SELECT {COLUMNS}, now() FROM jobs WHERE id = $1", job_id)
    return (_job(row), row["now"]) if row else None


async def find_job(db: Connection, text: str) -> Job:
    """Returns the job with this id. Raises Problem 404."""
    found = await select_job(db, parse_job_id(text))
    if found is None:
        raise not_found("job", text)
    return found[0]


async def select_jobs(
    db: Connection, *, dataset: str | None, status: str | None, limit: int, before: UUID | None
) -> list[Job]:
    """Newest first; ids are sortable by time, so the last one is where the next page begins."""
    rows = await db.fetch(
        f"""
        SELECT {COLUMNS} FROM jobs
        WHERE ($1::text IS NULL OR dataset = $1) AND ($2::text IS NULL OR status = $2) AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC LIMIT $3
        """,
        dataset,
        status,
        limit,
        before,
    )
    return [_job(row) for row in rows]


async def lock_job(db: Connection, job_id: UUID) -> Job | None:
    """One transaction at a time moves a job; two last chunks must not miss each other."""
    row = await db.fetchrow(f"SELECT {COLUMNS} FROM jobs WHERE id = $1 FOR UPDATE", job_id)
    return _job(row) if row else None


async def update_job(db: Connection, job: Job) -> None:
    """Everything about it that can change."""
    await db.execute(
        """
        UPDATE jobs SET status = $2, phase = $3, bytes_planned = $4, bytes_done = $5, chunks = $6, percent = $7,
               outcome = $8, error = $9, warning = $10, sequence = $11, started_at = $12, finished_at = $13,
               announced_at = $14, bytes_total = $15, version = $16, result = $17, updated_at = now(),
               command = CASE WHEN $18 THEN '{}' ELSE command END
        WHERE id = $1
        """,
        job.id,
        job.status,
        job.phase,
        job.bytes_planned,
        job.bytes_done,
        job.chunks,
        job.percent,
        msgspec.to_builtins(job.outcome),
        msgspec.to_builtins(job.error) if job.error else None,
        msgspec.to_builtins(job.warning) if job.warning else None,
        job.sequence,
        job.started_at,
        job.finished_at,
        job.announced_at,
        job.bytes_total,
        job.version,
        job.result,
        job.ended and not kinds.find(job.kind).keep_command,
    )


async def upsert_loaded(db: Connection, event: ChunkLoaded) -> None:
    """The chunk joins the loaded ones, with its counts. What its dataset has no use for, search or rollups, is done."""
    await db.execute(
        f"""
        INSERT INTO chunks (job_id, chunk, loaded, bytes, version, indexed, counted, {", ".join(COUNTS)})
        SELECT $1, $2, true, $3, $5, declaration->'search' IS NULL, declaration->'rollups' IS NULL,
               {", ".join(f"${number}::bigint" for number in range(6, 6 + len(COUNTS)))}
        FROM ingestor.datasets WHERE name = $4
        ON CONFLICT (job_id, chunk) DO UPDATE SET loaded = true, bytes = excluded.bytes,
               version = excluded.version,
               indexed = chunks.indexed OR excluded.indexed, counted = chunks.counted OR excluded.counted,
               {", ".join(f"{word} = excluded.{word}" for word in COUNTS)}
        """,
        event.job_id,
        event.chunk,
        event.bytes,
        event.dataset,
        event.version,
        *(getattr(event.outcome, word) for word in COUNTS),
    )


async def upsert_mark(db: Connection, event: ChunkIndexed | ChunkCounted) -> None:
    """The chunk joins the indexed or the counted ones; it may do so before we hear that it was loaded."""
    mark = "indexed" if isinstance(event, ChunkIndexed) else "counted"
    await db.execute(
        f"INSERT INTO chunks (job_id, chunk, {mark}) VALUES ($1, $2, true)"
        f" ON CONFLICT (job_id, chunk) DO UPDATE SET {mark} = true",
        event.job_id,
        event.chunk,
    )


async def select_tally(db: Connection, job_id: UUID) -> Tally:
    """The set of chunks, summed up."""
    row = await db.fetchrow(
        f"""
        SELECT count(*) FILTER (WHERE loaded) AS loaded, count(*) FILTER (WHERE indexed) AS indexed,
               count(*) FILTER (WHERE counted) AS counted, coalesce(sum(bytes), 0)::bigint AS bytes,
               max(version) AS version, {", ".join(f"coalesce(sum({word}), 0)::bigint AS {word}" for word in COUNTS)}
        FROM chunks WHERE job_id = $1
        """,
        job_id,
    )
    counts = dict(row or {})
    return Tally(outcome=Outcome(**{word: counts.pop(word, 0) for word in COUNTS}), **counts)


async def select_now(db: Connection) -> dt.datetime:
    """The only clock: Postgres', at the beginning of the transaction."""
    now: dt.datetime = await db.fetchval("SELECT now()")
    return now


async def select_job_states(db: Connection) -> list[tuple[str, str, int, float]]:
    """Kind, status, count and age in seconds of the oldest, of jobs that have not ended or ended this day."""
    rows = await db.fetch(
        """
        SELECT kind, status, count(*), extract(epoch FROM now() - min(created_at))::float8 FROM jobs
        WHERE finished_at IS NULL OR created_at > now() - interval '1 day' GROUP BY kind, status
        """
    )
    return [tuple(row) for row in rows]


def _job(row: Any) -> Job:
    """Postgres' types are the struct's already, but for the two that are kept as JSON."""
    values = {name: row[name] for name in Job.__struct_fields__}
    return msgspec.convert(values, Job)
