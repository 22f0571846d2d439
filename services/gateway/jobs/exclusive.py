"""Queries about exclusive jobs: the running one, and the requests that joined it."""

from uuid import UUID

from services.gateway.jobs.job import JobRequest
from shared.db import Connection


async def select_running(db: Connection, request: JobRequest) -> UUID | None:
    """Returns the unfinished job with the same kind and target."""
    return await select_running_on(db, request.kind, request.command.dataset, request.target)


async def select_running_on(db: Connection, kind: str, dataset: str, target: str | None) -> UUID | None:
    """Returns the unfinished job of this kind that works on the target."""
    running: UUID | None = await db.fetchval(
        "SELECT id FROM jobs WHERE kind = $1 AND dataset = $2 AND target = $3 AND finished_at IS NULL",
        kind,
        dataset,
        target,
    )
    return running


async def select_attached(db: Connection, api_key: str, idempotency_key: str) -> tuple[UUID, str] | None:
    """Returns the job that an earlier request with this key joined, and that request's fingerprint.

    Takes a lock for the key: a concurrent request with the same key could not see our uncommitted row.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))", api_key, idempotency_key)
    row = await db.fetchrow(
        "SELECT job_id, fingerprint FROM attached WHERE api_key = $1 AND idempotency_key = $2", api_key, idempotency_key
    )
    return (row["job_id"], row["fingerprint"]) if row else None


async def insert_attached(db: Connection, request: JobRequest, job_id: UUID) -> None:
    """Binds the request's idempotency key to the job that it joined."""
    await db.execute(
        "INSERT INTO attached (api_key, idempotency_key, fingerprint, job_id) VALUES ($1, $2, $3, $4)",
        request.api_key,
        request.idempotency_key,
        request.fingerprint,
        job_id,
    )
