"""Refreshes a report: brings the rollups of its datasets up to date."""

from services.analytics import deltas, queries
from services.analytics.declare import prepare
from shared.contracts.commands import RefreshReport
from shared.contracts.events import ReportRefreshed
from shared.db import Connection
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.datasets import select_dataset, select_version
from shared.telemetry import metrics


async def refresh_report(command: RefreshReport, db: Connection) -> ReportRefreshed:
    """Counts all loaded chunks of the datasets, without waiting for their events."""
    chunks, versions = 0, {}
    # Every refresh locks the datasets in this order, which prevents deadlocks.
    for name in sorted(command.datasets):
        await prepare(db, name)
        await queries.lock_counts(db, name, exclusive=False)
        rollups = await queries.select_rollups(db, await select_dataset(db, name))
        if rollups:
            counted, groups = await deltas.count_loaded(db, name, rollups)
            chunks += counted
            metrics.GROUPS.labels(name).inc(groups)
        else:
            versions[name] = await select_version(db, name)
    for name in sorted(set(command.datasets) - versions.keys()):
        versions[name] = await update_freshness(db, name, "counted")
    return ReportRefreshed(
        dataset=command.dataset,
        job_id=command.job_id,
        report=command.report,
        round=command.round,
        versions=versions,
        chunks=chunks,
    )
