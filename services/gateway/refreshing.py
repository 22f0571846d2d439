"""What the gateway decides about jobs of analytics: when a report is as fresh as it was asked to be."""

import msgspec

from services.gateway import progress, queries, refreshes
from services.gateway.handlers import Fact, Told, move
from shared.contracts.commands import RefreshReport
from shared.contracts.events import ReportRefreshed, RollupRebuilt
from shared.db import Connection


async def follow_refreshed(event: ReportRefreshed, db: Connection) -> list[Fact | RefreshReport]:
    """The job has ended, unless somebody who joined it meanwhile wants more than was loaded when it began."""
    job = await queries.lock_job(db, event.job_id)
    if job is None or job.ended:
        return []
    now = await queries.select_now(db)
    wanted = await refreshes.select_wanted(db, job.id)
    chunks = event.chunks + (job.result or {}).get("chunks", 0)
    result = {"versions": event.versions, "chunks": chunks}
    if any(event.versions.get(name, 0) < version for name, version in wanted.items()):
        command = RefreshReport(
            dataset=job.dataset,
            job_id=job.id,
            report=event.report,
            datasets=tuple(wanted),
            round=event.round + 1,
        )
        await refreshes.update_command(db, command)
        begun = msgspec.structs.replace(job, status="running", started_at=job.started_at or now, result=result)
        return [*await move(db, job, begun, now), command]
    ended = progress.answer(job, event.versions.get(job.dataset, 0), now)
    return [*await move(db, job, msgspec.structs.replace(ended, result=result), now)]


async def follow_rebuilt(event: RollupRebuilt, db: Connection) -> Told:
    """The rollup is what its rows sum up to."""
    job = await queries.lock_job(db, event.job_id)
    if job is None or job.ended:
        return []
    now = await queries.select_now(db)
    result = {"groups": event.groups, "mended": event.mended}
    return await move(db, job, msgspec.structs.replace(progress.answer(job, event.version, now), result=result), now)
