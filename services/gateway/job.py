"""A job, as the gateway keeps it and as clients see it."""

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from shared.contracts.parts import Outcome, Problem

Status = Literal["queued", "running", "succeeded", "partial", "failed"]
Phase = Literal["plan", "load", "index", "done"]
ENDED = ("succeeded", "partial", "failed")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `gateway.jobs`. Sizes in bytes; `chunks` and `bytes_planned` are null until the file is cut."""

    id: UUID
    kind: Literal["import"]
    dataset: str
    status: Status
    phase: Phase
    bytes_total: int
    bytes_planned: int | None
    bytes_done: int
    chunks: int | None
    percent: float
    outcome: Outcome
    error: Problem | None
    sequence: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    told_at: dt.datetime

    @property
    def ended(self) -> bool:
        """Whether nothing about the job will change any more."""
        return self.status in ENDED


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. `percent` never falls and is 100 only at the end; times in seconds."""

    bytes_total: int
    bytes_done: int
    rows_read: int
    rows_written: int
    rows_failed: int
    percent: float
    rows_per_second: float
    eta_seconds: float | None


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go from here."""

    self: str
    events: str
    failed_rows: str
    dataset: str


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /v1/jobs/{id}` answers. `outcome` is final once the job has ended."""

    id: UUID
    kind: str
    dataset: str
    status: Status
    phase: Phase
    progress: Progress
    outcome: Outcome
    error: Problem | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    links: Links


def to_body(job: Job, now: dt.datetime) -> JobBody:
    """The public view at `now`."""
    seconds = ((job.finished_at or now) - (job.started_at or now)).total_seconds()
    outcome = job.outcome
    eta = seconds * (100 - job.percent) / job.percent if job.percent and not job.ended else None
    return JobBody(
        id=job.id,
        kind=job.kind,
        dataset=job.dataset,
        status=job.status,
        phase=job.phase,
        progress=Progress(
            bytes_total=job.bytes_total,
            bytes_done=job.bytes_done,
            rows_read=outcome.rows_read,
            rows_written=outcome.inserted + outcome.updated,
            rows_failed=outcome.failed,
            percent=job.percent,
            rows_per_second=round(outcome.rows_read / seconds, 1) if seconds > 0 else 0.0,
            eta_seconds=round(eta, 1) if eta is not None else None,
        ),
        outcome=outcome,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=Links(
            self=f"/v1/jobs/{job.id}",
            events=f"/v1/jobs/{job.id}/events",
            failed_rows=f"/v1/jobs/{job.id}/failed-rows",
            dataset=f"/v1/datasets/{job.dataset}",
        ),
    )
