"""Queries about jobs."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from services.gateway.http.problems import not_found, parse_job_id
from services.gateway.jobs import kinds
from services.gateway.jobs.job import Job, JobRequest
from shared.contracts.parts import Outcome
from shared.db import Connection

COLUMNS = ", ".join(Job.__struct_fields__)
CHANGING = [
    field
    for field in Job.__struct_fields__
    if field not in ("id", "kind", "dataset", "mode", "source", "replay_of", "target", "created_at")
]
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


async def select_ended(db: Connection, job_ids: Sequence[UUID]) -> list[tuple[Job, dt.datetime]]:
    """Returns those of the jobs that have ended, and the database's time."""
    # OFFSET 0, as LATERAL in lock_jobs: a look-up for each id, however small the table was.
    rows = await db.fetch(
        f"""
        SELECT j.*, now() FROM unnest((SELECT $1::uuid[])) AS wanted (job_id)
        CROSS JOIN LATERAL (SELECT {COLUMNS} FROM jobs WHERE id = job_id AND finished_at IS NOT NULL OFFSET 0) j
        """,
        job_ids,
    )
    return [(_to_job(row), row["now"]) for row in rows]


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


async def lock_job(db: Connection, job_id: UUID) -> tuple[Job, dt.datetime] | None:
    """Locks the job and returns it, and the database's time."""
    jobs, now = await lock_jobs(db, [job_id])
    return (jobs[job_id], now) if jobs else None


async def lock_jobs(db: Connection, job_ids: Iterable[UUID]) -> tuple[dict[UUID, Job], dt.datetime]:
    """Locks the jobs that exist, in the order of their ids, and returns them, and the database's time.

    With two last chunks at once, one of them must see the other.
    """
    # LATERAL: a join may read the whole table, by a plan that was made while the table was small.
    # SELECT $1: the planner does not see the length of the array, so it does not plan each call again.
    rows = await db.fetch(
        f"""
        SELECT j.*, now() FROM unnest((SELECT $1::uuid[])) AS wanted (job_id)
        LEFT JOIN LATERAL (SELECT {COLUMNS} FROM jobs WHERE id = job_id FOR UPDATE) j ON true
        """,
        sorted(set(job_ids)),
    )
    return {row["id"]: _to_job(row) for row in rows if row["id"] is not None}, rows[0]["now"]


async def update_jobs(db: Connection, jobs: Sequence[Job]) -> None:
    """Saves every field that can change."""
    if not jobs:
        return
    await db.execute(
        f"""
        UPDATE jobs j SET {", ".join(f"{column} = s.{column}" for column in CHANGING)}, updated_at = now(),
               command = CASE WHEN s.finished_at IS NOT NULL AND j.kind = ANY($2) THEN '{{}}' ELSE j.command END
        FROM jsonb_populate_recordset(NULL::jobs, $1) s WHERE j.id = s.id
        """,
        jobs,
        [kind.name for kind in kinds.registered() if not kind.keep_command],
    )


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
