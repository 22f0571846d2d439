"""A job, as the gateway keeps it and as clients see it."""

import datetime as dt
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.contracts.commands import (
    LoadRows,
    PlanDetach,
    PlanImport,
    PlanReplay,
    PullPage,
    RebuildRollup,
    RefreshReport,
    RunSearch,
)
from shared.contracts.parts import Mode, Outcome, Problem

Status = Literal["queued", "running", "succeeded", "partial", "failed"]
Phase = Literal["plan", "load", "index", "search", "count", "done"]
Kind = Literal["import", "rows", "sync", "replay", "search", "refresh", "rebuild", "detach"]
ENDED = ("succeeded", "partial", "failed")
First = PlanImport | LoadRows | PullPage | PlanReplay | RunSearch | RefreshReport | RebuildRollup | PlanDetach
COMMANDS: dict[Kind, type[First]] = {
    "import": PlanImport,
    "rows": LoadRows,
    "sync": PullPage,
    "replay": PlanReplay,
    "search": RunSearch,
    "refresh": RefreshReport,
    "rebuild": RebuildRollup,
    "detach": PlanDetach,
}
"""What each kind of job asks first: the indexer if it is a search, analytics if it counts, else the ingestor."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `gateway.jobs`. Sizes in bytes; `chunks` and `bytes_planned` are null until they are known.

    `warning`: what the job ran into without failing. A job that loads no rows has no `mode`. `target`: the report that
    is refreshed, the rollup that is built anew, the year that is detached, and `result` what came of that.
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
    told_at: dt.datetime

    @property
    def ended(self) -> bool:
        """Whether nothing about the job will change any more."""
        return self.status in ENDED


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be accepted. `chunks` is given if it is known beforehand; `fingerprint` tells equal requests.

    A schedule has no `api_key`. Of syncs of one source only one is under way, but for those that may run `beside`, and
    one refresh, rebuild or detachment of each `target`.
    """

    kind: Kind
    command: First
    mode: Mode | None
    api_key: str | None
    idempotency_key: str | None
    fingerprint: str
    bytes_total: int = 0
    chunks: int | None = None
    source: str | None = None
    replay_of: UUID | None = None
    target: str | None = None
    beside: bool = False


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
    """What `GET /v1/jobs/{id}` answers. `outcome` is final once the job has ended.

    `version` is the dataset's after what was loaded so far: a search with it as `min_version` finds that. Of a search
    it is the version that was searched. It is null until there is one.
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
    links: Links


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """The report shows everything up to these versions of its datasets; so many chunks had to be counted for that."""

    versions: dict[str, int]
    chunks: int


class RefreshJobBody(JobBody, frozen=True, kw_only=True):
    """A job that brings a report up to what is loaded. `result` is null until it has succeeded."""

    report: str
    result: Refreshed | None


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """The rollup has so many groups, of which so many were not what the rows sum up to."""

    groups: int
    mended: int


class RebuildJobBody(JobBody, frozen=True, kw_only=True):
    """A job that computes a rollup from the rows. `result` is null until it has succeeded."""

    rollup: str
    result: Rebuilt | None


class DetachJobBody(JobBody, frozen=True, kw_only=True):
    """A job that detaches a year. Once it has succeeded, `table` has the rows; `outcome.deleted` is how many."""

    year: int
    table: str


def to_body(job: Job, now: dt.datetime) -> JobBody:
    """The public view at `now`."""
    seconds = ((job.finished_at or now) - (job.started_at or now)).total_seconds()
    outcome = job.outcome
    eta = seconds * (100 - job.percent) / job.percent if job.percent and not job.ended else None
    body = JobBody(
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
        links=Links(
            self=f"/v1/jobs/{job.id}",
            events=f"/v1/jobs/{job.id}/events",
            failed_rows=f"/v1/jobs/{job.id}/failed-rows",
            dataset=f"/v1/datasets/{job.dataset}",
        ),
    )
    if job.kind == "refresh":
        refreshed = msgspec.convert(job.result, Refreshed | None) if job.status == "succeeded" else None
        return RefreshJobBody(**msgspec.structs.asdict(body), report=job.target or "", result=refreshed)
    if job.kind == "rebuild":
        rebuilt = msgspec.convert(job.result, Rebuilt | None)
        return RebuildJobBody(**msgspec.structs.asdict(body), rollup=job.target or "", result=rebuilt)
    if job.kind == "detach":
        table = f"detached.{job.dataset}__{job.target}"
        return DetachJobBody(**msgspec.structs.asdict(body), year=int(job.target or 0), table=table)
    return body
