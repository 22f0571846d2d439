"""Syncs: the kind of job, and queries about the last sync and the cursor of each source."""

from uuid import UUID

import msgspec

from services.gateway.jobs import follow, kinds, queries
from services.gateway.jobs.follow import JobEvents
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.kinds import JobKind
from shared import ledger
from shared.bus.routes import on
from shared.contracts.commands import PullPage
from shared.contracts.events import SourcePulled
from shared.contracts.parts import Mode
from shared.db import Connection


async def follow_pulled(event: SourcePulled, db: Connection) -> JobEvents:
    """The source has no more pages: the number of chunks is known."""
    job = await queries.lock_job(db, event.job_id)
    if job is None:
        return []
    pulled = msgspec.structs.replace(
        job, chunks=event.chunks, bytes_planned=event.bytes, bytes_total=event.bytes, warning=event.warning
    )
    return await follow.advance(db, job, pulled)


SYNC = kinds.register(
    JobKind(
        name="sync",
        command=PullPage,
        owner="ingestor",
        routes=(*follow.LOAD_ROUTES, on(SourcePulled, follow_pulled, then=JobEvents)),
        exclusive="source",
    )
)


def sync_request(
    command: PullPage, mode: Mode, *, api_key: str | None, idempotency_key: str | None, overlap: bool = False
) -> JobRequest:
    """Returns the request for a sync; one that may overlap with others does not have its source to itself."""
    target = None if overlap else command.source
    return kinds.build_request(
        SYNC, command, target, api_key=api_key, idempotency_key=idempotency_key, mode=mode, source=command.source
    )


async def select_mode(db: Connection, dataset: str) -> Mode:
    """What a sync does with rows of a dataset: those without a key can only be appended."""
    return "upsert" if (await ledger.select_dataset(db, dataset)).keyed else "append"


async def select_last(db: Connection, dataset: str) -> dict[str, UUID]:
    """The newest sync of each source that was ever pulled."""
    rows = await db.fetch(
        "SELECT DISTINCT ON (source) source, id FROM jobs WHERE kind = $2 AND dataset = $1 ORDER BY source, id DESC",
        dataset,
        SYNC.name,
    )
    return {row["source"]: row["id"] for row in rows}


async def select_cursors(db: Connection, dataset: str) -> dict[str, str | None]:
    """How far each source was read, as the ingestor has it."""
    rows = await db.fetch("SELECT source, cursor FROM ingestor.sources WHERE dataset = $1", dataset)
    return {row["source"]: row["cursor"] for row in rows}
