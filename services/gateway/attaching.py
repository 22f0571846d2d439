"""Queries about jobs of which one at a time is under way: which that is, and who was answered with one that ran."""

import hashlib
from uuid import UUID

from services.gateway.job import Asked, First, Kind
from shared.contracts.commands import RefreshReport
from shared.db import Connection

KINDS: tuple[Kind, ...] = ("sync", "refresh", "rebuild", "detach")


def to_asked(kind: Kind, command: First, target: str, *, api_key: str, idempotency_key: str | None) -> Asked:
    """The job that begins with `command`, of which one at a time is under way for each target."""
    return Asked(
        kind=kind,
        command=command,
        mode=None,
        api_key=api_key,
        idempotency_key=idempotency_key,
        fingerprint=hashlib.sha256(f"{kind}/{command.dataset}/{target}".encode()).hexdigest(),
        target=target,
    )


async def select_running(db: Connection, one: Asked) -> UUID | None:
    """The job beside which this one must not begin."""
    if one.kind == "sync":
        sync: UUID | None = await db.fetchval(
            "SELECT id FROM jobs"
            " WHERE kind = 'sync' AND dataset = $1 AND source = $2 AND finished_at IS NULL AND NOT beside",
            one.command.dataset,
            one.source,
        )
        return sync
    found: UUID | None = await db.fetchval(
        "SELECT id FROM jobs WHERE kind = $1 AND dataset = $2 AND target = $3 AND finished_at IS NULL",
        one.kind,
        one.command.dataset,
        one.target,
    )
    return found


async def want(db: Connection, one: Asked, job_id: UUID) -> bool:
    """Who asks for a refresh wants what is loaded by now, whenever the job began; false if it has ended meanwhile.

    The versions are looked at under the job's lock, in a statement of their own: so they never fall.
    """
    if not isinstance(one.command, RefreshReport):
        return True
    if not await db.fetchval("SELECT true FROM jobs WHERE id = $1 AND finished_at IS NULL FOR UPDATE", job_id):
        return False
    await db.execute(
        """
        UPDATE jobs SET wanted = (
            SELECT jsonb_object_agg(name, version) FROM ingestor.datasets WHERE name = ANY($2::text[])
        ) WHERE id = $1
        """,
        job_id,
        one.command.datasets,
    )
    return True


async def select_attached(db: Connection, api_key: str, idempotency_key: str) -> tuple[UUID, str] | None:
    """The job that a key was answered with because it ran already, and the fingerprint of what was asked.

    One transaction at a time asks for a key: until it has ended, another could not see what its answer was.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))", api_key, idempotency_key)
    row = await db.fetchrow(
        "SELECT job_id, fingerprint FROM attached WHERE api_key = $1 AND idempotency_key = $2", api_key, idempotency_key
    )
    return (row["job_id"], row["fingerprint"]) if row else None


async def insert_attached(db: Connection, one: Asked, job_id: UUID) -> None:
    """From now on its key stands for that job."""
    await db.execute(
        "INSERT INTO attached (api_key, idempotency_key, fingerprint, job_id) VALUES ($1, $2, $3, $4)",
        one.api_key,
        one.idempotency_key,
        one.fingerprint,
        job_id,
    )
