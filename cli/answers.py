"""The parts of the gateway's answers that the client reads; a newer gateway may say more."""

import datetime as dt
from typing import Any

import msgspec

from shared.contracts.parts import Outcome, Problem


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is."""

    bytes_total: int
    bytes_done: int
    rows_read: int
    rows_written: int
    rows_failed: int
    percent: float
    rows_per_second: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted piece of work."""

    id: str
    kind: str
    dataset: str
    status: str
    phase: str
    progress: Progress
    outcome: Outcome
    error: Problem | None
    warning: Problem | None = None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None

    @property
    def ended(self) -> bool:
        return self.finished_at is not None

    @property
    def has_rows(self) -> bool:
        return self.kind not in ("search", "refresh", "rebuild", "detach")


class Jobs(msgspec.Struct, frozen=True):
    """A page of jobs."""

    data: list[Job]
    next: str | None


class Told(msgspec.Struct, frozen=True):
    """The data of an event; not every event is about a job as a whole."""

    job: Job | None = None


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a row; without a column, it is wrong with all of it."""

    code: str
    column: str
    detail: str


class FailedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A refused row."""

    line: int
    raw: str
    errors: list[RowError]


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows have one kind of error."""

    code: str
    column: str
    rows: int


class FailedRows(msgspec.Struct, frozen=True, kw_only=True):
    """A page of failed rows; of the whole job, how many there are, how many of them are kept, and why they failed."""

    data: list[FailedRow]
    next: int | None
    total: int
    kept: int
    counts: list[Count]


class Discarded(msgspec.Struct, frozen=True):
    """How many rows were given up; None if that is not known yet."""

    discarded: int | None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a tick of a schedule."""

    due_at: dt.datetime
    fate: str
    job_id: str | None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a source is pulled by itself; `ticks` are the last ones, newest first."""

    dataset: str
    source: str
    cron: str
    timezone: str
    overlap: str
    next_at: dt.datetime
    ticks: list[Tick]


class Schedules(msgspec.Struct, frozen=True):
    """All schedules."""

    data: list[Schedule]


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """What a report must be told; one with a default may be left out."""

    name: str
    type: str
    default: Any = None


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a report from being computed, and where in its file."""

    file: str
    line: int
    column: int | None
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A declared report; one that is not `ready` can't be asked for."""

    name: str
    title: str
    state: str
    parameters: list[Parameter]
    errors: list[Flaw]


class Reports(msgspec.Struct, frozen=True):
    """All reports."""

    data: list[Report]


class Result(msgspec.Struct, frozen=True):
    """What a report says."""

    data: list[dict[str, Any]]
    columns: list[str]
    computed_at: dt.datetime
    version: int = 0
    lag_versions: int = 0
    lag_seconds: float = 0
    truncated: bool = False


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a dataset."""

    name: str
    type: str
    required: bool = False
    generated: bool = False
    references: str | None = None
    description: str = ""


class Searched(msgspec.Struct, frozen=True):
    """Which fields are searched."""

    fields: list[str]


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset is."""

    fields: list[Field]
    primary_key: list[str] = []
    search: Searched | None = None
    description: str = ""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset; `version` counts the changes of its rows."""

    name: str
    title: str
    revision: int
    version: int
    declaration: Declaration


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """Something to look at in a draft."""

    code: str
    detail: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A declaration to start from; `parameters` are those with which to import the file."""

    name: str
    toml: str
    warnings: list[Warned]
    rows: int
    parameters: dict[str, str]


class Datasets(msgspec.Struct, frozen=True):
    """All datasets."""

    data: list[Dataset]


class Page(msgspec.Struct, frozen=True):
    """Rows of a dataset, of which there are `total`."""

    total: int
