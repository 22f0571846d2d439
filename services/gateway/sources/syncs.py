"""Syncs: the kind of job, its request, and the query for the last sync of each source."""

from uuid import UUID

import msgspec

from services.gateway.jobs import follow, kinds, queries
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.kinds import JobKind
from shared.bus.routes import on
from shared.contracts.commands import PullPage
from shared.contracts.events import SourcePulled
from shared.contracts.parts import Mode
from shared.db import Connection
from shared.reads.ingestor.datasets import select_dataset


async def follow_pulled(event: SourcePulled, db: Connection) -> JobEvents:
    """Records the number of chunks, which is known when the source has no more pages."""
    found = await queries.lock_job(db, event.job_id)
    if found is None:
        return []
    job, now = found
    pulled = msgspec.structs.replace(
        job, chunks=event.chunks, bytes_planned=event.bytes, bytes_total=event.bytes, warning=event.warning
    )
    return await follow.advance(db, job, pulled, now)


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
    command: PullPage,
    mode: Mode,
    *,
    api_key: str | None,
    idempotency_key: str | None,
    overlap: bool = False,
    deadline: int | None = None,
) -> JobRequest:
    """Returns the request for a sync; with `overlap` it runs beside other syncs of its source."""
    target = None if overlap else command.source
    return kinds.build_request(
        SYNC,
        command,
        target,
        api_key=api_key,
        idempotency_key=idempotency_key,
        mode=mode,
        source=command.source,
        deadline=deadline,
    )


async def select_mode(db: Connection, dataset: str) -> Mode:
    """Returns the mode of the dataset's syncs: upsert, or append if it has no primary key."""
    return "upsert" if (await select_dataset(db, dataset)).keyed else "append"


async def select_last(db: Connection, dataset: str) -> dict[str, UUID]:
    """Returns the last sync of each source that has one."""
    rows = await db.fetch(
        "SELECT DISTINCT ON (source) source, id FROM jobs WHERE kind = $2 AND dataset = $1 ORDER BY source, id DESC",
        dataset,
        SYNC.name,
    )
    return {row["source"]: row["id"] for row in rows}
