"""Responses of the gateway that several commands read. Unknown fields are ignored, so a newer gateway may send more."""

import datetime as dt
from typing import Generic, TypeVar

import msgspec

from shared.contracts.parts import Outcome, Problem

T = TypeVar("T")


class Collection(msgspec.Struct, Generic[T], frozen=True):
    """A list of resources, or one page of it."""

    data: list[T]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a job."""

    bytes_total: int
    bytes_done: int
    rows_read: int
    rows_written: int
    rows_failed: int
    percent: float
    rows_per_second: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job of any kind."""

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


class JobEvent(msgspec.Struct, frozen=True):
    """Data of a server-sent event; `job` is None if the event is about a part of the job."""

    job: Job | None = None


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """An error of a row; `column` is empty if the error concerns the whole row."""

    code: str
    column: str
    detail: str


class FailedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A failed row with its errors."""

    line: int
    raw: str
    errors: list[RowError]


class ErrorCount(msgspec.Struct, frozen=True, kw_only=True):
    """Number of failed rows that have this error in this column."""

    code: str
    column: str
    rows: int


class FailedRows(msgspec.Struct, frozen=True, kw_only=True):
    """A page of failed rows. `total`, `kept` and `counts` are about all failed rows of the job."""

    data: list[FailedRow]
    next: int | None
    total: int
    kept: int
    counts: list[ErrorCount]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a dataset."""

    name: str
    type: str
    required: bool = False
    generated: bool = False
    references: str | None = None
    description: str = ""


class SearchDeclaration(msgspec.Struct, frozen=True):
    """The fields that are searchable."""

    fields: list[str]


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of a dataset."""

    fields: list[Field]
    primary_key: list[str] = []
    search: SearchDeclaration | None = None
    description: str = ""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset; `version` increases with every change of its rows."""

    name: str
    title: str
    revision: int
    version: int
    declaration: Declaration
