"""Facts. Services hear each other's; anyone may subscribe to the jobs' on the topic exchange."""

from typing import Any, ClassVar
from uuid import UUID

from shared.contracts.message import Event
from shared.contracts.parts import Outcome, Problem


class DatasetDeclared(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The table of a dataset stands as this revision of its declaration says."""

    identity: ClassVar[tuple[str, ...]] = ("dataset", "revision")

    revision: int


class ImportPlanned(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A file was cut into `chunks` chunks, numbered from 1; together they have `bytes` bytes, without a header line.

    `warning` says what of the input was left out.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    chunks: int
    bytes: int
    warning: Problem | None = None


class ImportRejected(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A file can't be loaded at all; nothing was written."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    problem: Problem


class ImportStopped(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A job must not go on, for example because more rows failed than it allows.

    What was loaded until then stays, and `outcome` counts it; the rest is left alone.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    problem: Problem
    outcome: Outcome


class SourcePulled(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A source has no more pages: its rows came in `chunks` chunks of `bytes` bytes together.

    `warning` says why it ended before the source said so.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    chunks: int
    bytes: int
    warning: Problem | None = None


class ChunkLoaded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The good rows of a chunk are in the table, its bad ones among the failed rows.

    `ledger` is the number that the chunk's rows carry as `_chunk`; `version` is the dataset's version that shows them.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    job_id: UUID
    chunk: int
    ledger: int
    version: int
    bytes: int
    outcome: Outcome


class ChunkIndexed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a chunk can be found by search."""

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    job_id: UUID
    chunk: int
    documents: int


class ChunkCounted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a chunk are part of every rollup of their dataset."""

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    job_id: UUID
    chunk: int
    groups: int


class SearchCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An answer is kept: `hits` rows of the `total` or more that match in version `version` of the dataset."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    hits: int
    total: int
    version: int


class ReportRefreshed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The rollups of these datasets contain everything up to these versions, after round `round` of the command.

    `chunks` of them were counted for this job; the others had been already.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id", "round")

    job_id: UUID
    report: str
    round: int
    versions: dict[str, int]
    chunks: int


class RollupRebuilt(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A rollup of `groups` groups is what its rows sum up to; `mended` groups were not."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    rollup: str
    version: int
    groups: int
    mended: int


class WorkFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A service gave up on `message` after its last attempt; the job can't end well."""

    identity: ClassVar[tuple[str, ...]] = ("message_id",)

    job_id: UUID
    message_id: UUID
    message: str
    problem: Problem


class JobEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A public fact about a job. `job` is the body that `GET /v1/jobs/{id}` gave at that moment."""

    identity: ClassVar[tuple[str, ...]] = ("job_id", "sequence")
    mandatory: ClassVar[bool] = False

    job_id: UUID
    sequence: int
    job: dict[str, Any]


class JobCreated(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The job was accepted and will be worked on."""


class JobStarted(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Work on the job has begun."""


class JobProgress(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """More of the job is done than before."""


class JobSucceeded(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Every row is loaded, searchable and counted; of a search, the answer is there."""


class JobPartial(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The good rows are loaded, searchable and counted; the others wait among the failed rows."""


class JobFailed(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The job ended without its effect, or can't vouch for it; `job.error` says why."""
