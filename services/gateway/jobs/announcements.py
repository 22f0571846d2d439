"""Announcements of jobs: saves what became of jobs, and returns their public events."""

import datetime as dt
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import structlog

from services.gateway.jobs import event_log, kinds, queries
from services.gateway.jobs.job import Job
from services.gateway.jobs.kinds import to_body
from shared.contracts.events import (
    JobCanceled,
    JobFailed,
    JobPartial,
    JobProgress,
    JobRetried,
    JobStarted,
    JobSucceeded,
    PublicJobEvent,
)
from shared.db import Connection
from shared.telemetry import metrics

PROGRESS_EVERY = dt.timedelta(seconds=1)
End = JobSucceeded | JobPartial | JobFailed | JobCanceled
ENDS: dict[str, type[End]] = {
    "succeeded": JobSucceeded,
    "partial": JobPartial,
    "failed": JobFailed,
    "canceled": JobCanceled,
}
log = structlog.get_logger()

Announcement = JobStarted | JobProgress | JobRetried | End
JobEvents = list[Announcement]
E = TypeVar("E", bound=PublicJobEvent)
Step = tuple[Job, Job]
"""A job before and after a change."""


def init_metrics() -> None:
    """Creates the series of finished jobs, so that the first job is an increase and not the start of a series."""
    for kind in kinds.registered():
        for status in ENDS:
            metrics.JOBS_ENDED.labels(kind.name, status)


async def save_and_announce(db: Connection, steps: Sequence[Step], now: dt.datetime) -> JobEvents:
    """Saves the jobs and returns their public events: started, progress (at most once a second), and the end."""
    changed: list[Job] = []
    announced: JobEvents = []
    for before, after in steps:
        job = after
        for event_type in _due(before, after, now):
            job = msgspec.structs.replace(job, sequence=job.sequence + 1, announced_at=now)
            announced.append(to_event(event_type, job, now))
        # A job that has ended changes only by a plan that arrives late, which a retry needs.
        if not before.ended or after != before:
            changed.append(job)
        if job.ended and not before.ended:
            _record_end(job)
    await event_log.insert_events(db, announced)
    await queries.update_jobs(db, changed)
    return announced


def to_event(event_type: type[E], job: Job, now: dt.datetime) -> E:
    """Returns the public event of the job's last step."""
    body = msgspec.to_builtins(to_body(job, now))
    return event_type(dataset=job.dataset, job_id=job.id, sequence=job.sequence, run=job.run, job=body)


def _due(before: Job, after: Job, now: dt.datetime) -> list[type[JobStarted | JobProgress | End]]:
    """Returns the events of a step, in their order."""
    if before.ended:
        return []
    started: list[type[JobStarted | JobProgress | End]] = [JobStarted] if before.status == "queued" else []
    if after.ended:
        return [*started, ENDS[after.status]]
    return started or ([JobProgress] if now - before.announced_at >= PROGRESS_EVERY else [])


def _record_end(job: Job) -> None:
    metrics.JOBS_ENDED.labels(job.kind, job.status).inc()
    if job.finished_at:
        metrics.JOB_SECONDS.labels(job.kind).observe((job.finished_at - job.created_at).total_seconds())
    if job.error and job.error.code == "accounting":
        metrics.ACCOUNTING_VIOLATIONS.inc()
    log.info("job ended", job=str(job.id), status=job.status, outcome=msgspec.to_builtins(job.outcome))
