"""Queries about syncs: which is under way, which was the last of a source, and who was answered with one that ran."""

import hashlib
from uuid import UUID

from services.gateway.job import Asked
from shared import ledger
from shared.contracts.commands import PullPage
from shared.contracts.parts import Mode
from shared.db import Connection


def to_asked(
    command: PullPage, mode: Mode, *, api_key: str | None, idempotency_key: str | None, beside: bool = False
) -> Asked:
    """The job that begins with `command`."""
    return Asked(
        kind="sync",
        command=command,
        mode=mode,
        api_key=api_key,
        idempotency_key=idempotency_key,
        fingerprint=hashlib.sha256(f"{command.dataset}/{command.source}".encode()).hexdigest(),
        source=command.source,
        beside=beside,
    )


async def select_mode(db: Connection, dataset: str) -> Mode:
    """What a sync does with rows of a dataset: those without a key can only be appended."""
    return "upsert" if (await ledger.select_dataset(db, dataset)).keyed else "append"


async def select_running(db: Connection, dataset: str, source: str) -> UUID | None:
    """The sync beside which no other of its source may begin."""
    found: UUID | None = await db.fetchval(
        "SELECT id FROM jobs"
        " WHERE kind = 'sync' AND dataset = $1 AND source = $2 AND finished_at IS NULL AND NOT beside",
        dataset,
        source,
    )
    return found


async def select_last(db: Connection, dataset: str) -> dict[str, UUID]:
    """The newest sync of each source that was ever pulled."""
    rows = await db.fetch(
        "SELECT DISTINCT ON (source) source, id FROM jobs WHERE kind = 'sync' AND dataset = $1"
        " ORDER BY source, id DESC",
        dataset,
    )
    return {row["source"]: row["id"] for row in rows}


async def select_cursors(db: Connection, dataset: str) -> dict[str, str | None]:
    """How far each source was read, as the ingestor has it."""
    rows = await db.fetch("SELECT source, cursor FROM ingestor.sources WHERE dataset = $1", dataset)
    return {row["source"]: row["cursor"] for row in rows}


async def select_attached(db: Connection, api_key: str, idempotency_key: str) -> tuple[UUID, str] | None:
    """The sync that a key was answered with because it ran already, and the fingerprint of what was asked.

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
