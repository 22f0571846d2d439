"""What analytics decides: what chunks change in the rollups of their dataset."""

from services.analytics import counting, queries
from services.analytics.declaring import prepare
from shared import ledger
from shared.bus.failures import NotReady
from shared.bus.routes import queue
from shared.contracts.commands import RefreshReport
from shared.contracts.events import ChunkCounted, ChunkLoaded, DatasetDeclared, ReportRefreshed
from shared.contracts.message import Message
from shared.db import Connection
from shared.telemetry import metrics

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100


async def count_chunk(event: ChunkLoaded, db: Connection) -> ChunkCounted | None:
    """Adds what the chunk changed to every rollup, once; for a dataset without rollups nobody waits.

    One that is declared and does not stand yet will be made from rows, of which these are some.
    """
    # Before it is read which rollups stand: whoever makes one must know what this chunk went into.
    await queries.lock_counting(db, event.dataset, alone=False)
    dataset = await ledger.select_dataset(db, event.dataset)
    standing = await queries.select_standing(db, dataset)
    if dataset.rollups and not standing:
        raise NotReady  # until what was declared a moment ago has its tables
    groups = 0
    if await queries.claim_chunk(db, event.ledger):
        groups = sum([await counting.add_chunks(db, tables, [event.ledger]) for tables in standing])
        if groups:
            await queries.update_groups(db, event.ledger, groups)
    if not standing:
        return None
    await ledger.update_freshness(db, event.dataset, "counted")
    metrics.GROUPS.labels(event.dataset).inc(groups)
    return ChunkCounted(dataset=event.dataset, job_id=event.job_id, chunk=event.chunk, groups=groups)


async def refresh_report(command: RefreshReport, db: Connection) -> ReportRefreshed:
    """Counts what is loaded and not counted, without waiting for the events that tell of it."""
    chunks, versions = 0, {}
    # All in the same order, so that no two wait for each other.
    for name in sorted(command.datasets):
        await prepare(db, name)
        await queries.lock_counting(db, name, alone=False)
        standing = await queries.select_standing(db, await ledger.select_dataset(db, name))
        if standing:
            counted, groups = await counting.count_loaded(db, name, standing)
            chunks += counted
            metrics.GROUPS.labels(name).inc(groups)
        else:
            versions[name] = await queries.select_version(db, name)
    for name in sorted(set(command.datasets) - versions.keys()):
        versions[name] = await ledger.update_freshness(db, name, "counted")
    event = ReportRefreshed(
        dataset=command.dataset,
        job_id=command.job_id,
        report=command.report,
        round=command.round,
        versions=versions,
        chunks=chunks,
    )
    await queries.insert_refresh(db, event, command.round)
    return event


async def resend_uncounted(db: Connection) -> list[tuple[str, Message]]:
    """Chunks whose event is lost, as the ingestor's ledger and ours tell, and declarations that nobody heard of."""
    await queries.delete_refreshes(db)
    chunks = await ledger.select_unprocessed(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    declared = await queries.select_unprepared(db, seconds=OVERDUE_SECONDS)
    found: list[tuple[str, Message]] = [(queue("analytics", ChunkLoaded), event) for event in chunks]
    return [*found, *((queue("analytics", DatasetDeclared), event) for event in declared)]
