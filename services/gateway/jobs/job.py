"""A job: the row in the database, the request that creates it, and the public view."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar.params import Parameter

from shared.contracts.commands import JobCommand
from shared.contracts.parts import Mode, Outcome, Problem

Status = Literal["queued", "running", "succeeded", "partial", "failed", "canceled"]
Phase = Literal["plan", "load", "index", "search", "count", "done"]
ENDED = ("succeeded", "partial", "failed", "canceled")
KIND_NAMES: list[str] = []
"""The names of the registered kinds; the API's description reads them when it is built."""
Kind = Annotated[str, Parameter(schema_extra={"enum": KIND_NAMES})]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `gateway.jobs`. Sizes are in bytes; `chunks` and `bytes_planned` are null until they are known.

    `warning` is something that went wrong without failing the job. Jobs that load no rows have no `mode`. `target` is
    what the job works on exclusively, such as a report or a year, and `result` the outcome of a job without chunks. A
    retry starts the next `run`.
    """

    id: UUID
    kind: Kind
    dataset: str
    mode: Mode | None
    source: str | None
    replay_of: UUID | None
    target: str | None = None
    status: Status
    phase: Phase
    version: int | None
    bytes_total: int
    bytes_planned: int | None
    bytes_done: int
    chunks: int | None
    percent: float
    outcome: Outcome
    error: Problem | None
    warning: Problem | None
    result: dict[str, Any] | None = None
    sequence: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    deadline_at: dt.datetime
    run: int = 1
    announced_at: dt.datetime

    @property
    def ended(self) -> bool:
        """Whether the job is final."""
        return self.status in ENDED


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A job to submit. `chunks` is set if it is known beforehand; equal requests have the same `fingerprint`.

    Jobs that a schedule starts have no `api_key`. Of one kind, only one unfinished job may have the same `target`.
    `deadline` is in seconds; by default the kind sets it.
    """

    kind: str
    command: JobCommand
    api_key: str | None
    idempotency_key: str | None
    fingerprint: str
    mode: Mode | None = None
    bytes_total: int = 0
    chunks: int | None = None
    source: str | None = None
    replay_of: UUID | None = None
    target: str | None = None
    deadline: int | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a job. `percent` never falls and reaches 100 only at the end; times are in seconds."""

    bytes_total: int
    bytes_done: int
    rows_read: int
    rows_written: int
    rows_failed: int
    percent: float
    rows_per_second: float
    eta_seconds: float | None


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """URLs of related resources."""

    self: str
    events: str
    failed_rows: str
    dataset: str


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as `GET /v1/jobs/{id}` returns it. `outcome` is final once the job has ended.

    `version` is the version of the dataset that includes the rows loaded so far: a search with that `min_version` finds
    them. For a search job it is the version that was searched. It is null until there is one. At `deadline_at` a job
    that has not ended is stopped and fails.
    """

    id: UUID
    kind: Kind
    dataset: str
    mode: Mode | None
    source: str | None
    replay_of: UUID | None
    status: Status
    phase: Phase
    version: int | None
    progress: Progress
    outcome: Outcome
    error: Problem | None
    warning: Problem | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    deadline_at: dt.datetime
    links: Links

    @property
    def ended(self) -> bool:
        """Whether the job is final."""
        return self.status in ENDED


def common_body(job: Job, now: dt.datetime) -> JobBody:
    """Returns the fields that jobs of every kind have, at `now`."""
    seconds = ((job.finished_at or now) - (job.started_at or now)).total_seconds()
    outcome = job.outcome
    eta = seconds * (100 - job.percent) / job.percent if job.percent and not job.ended else None
    return JobBody(
        id=job.id,
        kind=job.kind,
        dataset=job.dataset,
        mode=job.mode,
        source=job.source,
        replay_of=job.replay_of,
        status=job.status,
        phase=job.phase,
        version=job.version,
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
        warning=job.warning,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        deadline_at=job.deadline_at,
        links=Links(
            self=f"/v1/jobs/{job.id}",
            events=f"/v1/jobs/{job.id}/events",
            failed_rows=f"/v1/jobs/{job.id}/failed-rows",
            dataset=f"/v1/datasets/{job.dataset}",
        ),
    )
