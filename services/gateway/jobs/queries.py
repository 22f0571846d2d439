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
from shared.reads.ingestor.tables import DATASETS

COLUMNS = ", ".join(Job.__struct_fields__)
COUNTS = Outcome.__struct_fields__
NO_OUTCOME = msgspec.to_builtins(Outcome())


async def insert_jobs(db: Connection, requests: Sequence[JobRequest]) -> list[Job]:
    """Inserts queued jobs and returns them. Skips a job whose id, idempotency key or exclusive target is taken."""
    rows = await db.fetch(
        f"""
        INSERT INTO jobs (id, kind, dataset, mode, source, replay_of, status, phase, command, api_key, idempotency_key,
                          fingerprint, bytes_total, bytes_planned, chunks, target, outcome, sequence, deadline_at)
        SELECT id, kind, dataset, mode, source, replay_of, 'queued', phase, command, api_key, idempotency_key,
               fingerprint, bytes_total, CASE WHEN chunks IS NOT NULL THEN bytes_total END, chunks, target, $16, 1,
               now() + deadline
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::json[], $8::text[],
                    $9::text[], $10::text[], $11::bigint[], $12::int[], $13::text[], $14::text[],
                    $15::interval[])
             AS a (id, kind, dataset, mode, source, replay_of, command, api_key, idempotency_key, fingerprint,
                   bytes_total, chunks, target, phase, deadline)
        ON CONFLICT DO NOTHING
        RETURNING {COLUMNS}
        """,
        [request.command.job_id for request in requests],
        [request.kind for request in requests],
        [request.command.dataset for request in requests],
        [request.mode for request in requests],
        [request.source for request in requests],
        [request.replay_of for request in requests],
        [request.command for request in requests],
        [request.api_key for request in requests],
        [request.idempotency_key for request in requests],
        [request.fingerprint for request in requests],
        [request.bytes_total for request in requests],
        [request.chunks for request in requests],
        [request.target for request in requests],
        [kinds.find(request.kind).phase for request in requests],
        [_deadline(request) for request in requests],
        NO_OUTCOME,
    )
    return [_to_job(row) for row in rows]


async def select_by_idempotency_key(db: Connection, api_key: str, idempotency_key: str) -> tuple[Job, str] | None:
    """Returns the job of an idempotency key and the fingerprint of its request."""
    row = await db.fetchrow(
        f"SELECT {COLUMNS}, fingerprint FROM jobs WHERE api_key = $1 AND idempotency_key = $2", api_key, idempotency_key
    )
    return (_to_job(row), row["fingerprint"]) if row else None


async def select_job(db: Connection, job_id: UUID) -> tuple[Job, dt.datetime] | None:
    """Returns the job and the database's time."""
    row = await db.fetchrow(f"SELECT {COLUMNS}, now() FROM jobs WHERE id = $1", job_id)
    return (_to_job(row), row["now"]) if row else None


async def find_job(db: Connection, text: str) -> Job:
    """Returns the job with this id. Raises Problem 404."""
    found = await select_job(db, parse_job_id(text))
    if found is None:
        raise not_found("job", text)
    return found[0]


async def select_jobs(
    db: Connection, *, dataset: str | None, status: str | None, limit: int, before: UUID | None
) -> list[Job]:
    """Returns a page, newest first. Ids sort by time: `before` is the last id of the previous page."""
    # Only the filters of the request: a plan for all combinations could use no index.
    filters = [("dataset =", dataset), ("status =", status), ("id <", before)]
    used = [(condition, value) for condition, value in filters if value is not None]
    where = "".join(f" AND {condition} ${number}" for number, (condition, _) in enumerate(used, 2))
    rows = await db.fetch(
        f"SELECT {COLUMNS} FROM jobs WHERE true{where} ORDER BY id DESC LIMIT $1", limit, *(value for _, value in used)
    )
    return [_to_job(row) for row in rows]


async def lock_job(db: Connection, job_id: UUID) -> Job | None:
    """Locks and returns the job: with two last chunks at once, one of them must see the other."""
    row = await db.fetchrow(f"SELECT {COLUMNS} FROM jobs WHERE id = $1 FOR UPDATE", job_id)
    return _to_job(row) if row else None


async def update_job(db: Connection, job: Job) -> None:
    """Saves every field that can change."""
    await db.execute(
        """
        UPDATE jobs SET status = $2, phase = $3, bytes_planned = $4, bytes_done = $5, chunks = $6, percent = $7,
               outcome = $8, error = $9, warning = $10, sequence = $11, started_at = $12, finished_at = $13,
               announced_at = $14, bytes_total = $15, version = $16, result = $17, run = $18, deadline_at = $19,
               updated_at = now(), command = CASE WHEN $20 THEN '{}' ELSE command END
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
        job.run,
        job.deadline_at,
        job.ended and not kinds.find(job.kind).keep_command,
    )


async def upsert_loaded(db: Connection, event: ChunkLoaded) -> None:
    """Marks a chunk as loaded, with its counts; also as indexed or counted if it needs neither.

    Its `readers` decide that; without them, the declaration of now.
    """
    await db.execute(
        f"""
        INSERT INTO chunks (job_id, chunk, loaded, bytes, version, indexed, counted, {", ".join(COUNTS)})
        SELECT $1, $2, true, $3, $5,
               coalesce('indexer' <> ALL($6::text[]), declaration->'search' IS NULL),
               coalesce('analytics' <> ALL($6::text[]), declaration->'rollups' IS NULL),
               {", ".join(f"${number}::bigint" for number in range(7, 7 + len(COUNTS)))}
        FROM {DATASETS} WHERE name = $4
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
        event.readers,
        *(getattr(event.outcome, word) for word in COUNTS),
    )


async def upsert_mark(db: Connection, event: ChunkIndexed | ChunkCounted) -> None:
    """Marks a chunk as indexed or counted. ChunkLoaded may arrive later."""
    mark = "indexed" if isinstance(event, ChunkIndexed) else "counted"
    await db.execute(
        f"INSERT INTO chunks (job_id, chunk, {mark}) VALUES ($1, $2, true)"
        f" ON CONFLICT (job_id, chunk) DO UPDATE SET {mark} = true",
        event.job_id,
        event.chunk,
    )


async def select_tally(db: Connection, job_id: UUID) -> Tally:
    """Returns the sums over the job's chunks."""
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
    """Returns the start time of the transaction. Postgres is the only clock."""
    now: dt.datetime = await db.fetchval("SELECT now()")
    return now


def _deadline(request: JobRequest) -> dt.timedelta:
    if request.deadline is not None:
        return dt.timedelta(seconds=request.deadline)
    return kinds.find(request.kind).deadline


def _to_job(row: Any) -> Job:
    return msgspec.convert({name: row[name] for name in Job.__struct_fields__}, Job)
