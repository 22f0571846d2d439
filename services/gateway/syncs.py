"""Queries about syncs: what one is asked with, which was the last of a source, and how far that is read."""

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
