"""Events. Clients may subscribe to the public job events on the topic exchange."""

from typing import Any, ClassVar
from uuid import UUID, uuid5

from shared.contracts.message import NAMESPACE, Event
from shared.contracts.parts import Outcome, Problem

SMALL, SMALL_BYTES = "small", 256 << 10


class JobEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event about a job."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID


class ChunkEvent(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An event about a chunk of a job."""

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    chunk: int


class DatasetDeclared(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The table of a dataset matches this revision of its declaration."""

    receivers: ClassVar[tuple[str, ...]] = ("indexer", "analytics")
    identity: ClassVar[tuple[str, ...]] = ("dataset", "revision")

    revision: int


class ImportPlanned(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A file was split into `chunks` chunks, numbered from 1, of `bytes` bytes in total without the header line.

    `warning` says which part of the input was left out.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    chunks: int
    bytes: int
    warning: Problem | None = None


class ImportRejected(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A file cannot be loaded; nothing was written."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    problem: Problem


class ImportStopped(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A job stopped early, for example because too many rows failed.

    Rows loaded until then stay, and `outcome` counts them; the other rows are not read.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    problem: Problem
    outcome: Outcome


class SourcePulled(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A sync is complete: its rows came in `chunks` chunks of `bytes` bytes in total.

    `warning` says why the sync ended before the source's last page.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    chunks: int
    bytes: int
    warning: Problem | None = None


class ChunkLoaded(ChunkEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The valid rows of a chunk are in the table, the invalid ones are stored as failed rows.

    `ledger` is the value of `_chunk` in the chunk's rows. `version` is the dataset's version that contains them.
    `readers` are the services that index or count the rows: those of the dataset's declaration when the chunk was
    loaded. It is null in a message of an older version, and the declaration decides when the message arrives.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway", "indexer", "analytics")
    optional: ClassVar[tuple[str, ...]] = ("indexer", "analytics")
    lanes: ClassVar[tuple[str, ...]] = ("", SMALL)
    large_lane: ClassVar[str | None] = ""

    ledger: int
    version: int
    bytes: int
    outcome: Outcome
    readers: tuple[str, ...] | None = None

    @property
    def lane(self) -> str:
        """Small for a batch, a page or a small file, none for a chunk of a large file."""
        return SMALL if self.bytes < SMALL_BYTES else ""

    @property
    def row_count(self) -> int:
        """The rows that the chunk wrote or deleted."""
        return self.outcome.inserted + self.outcome.updated + self.outcome.duplicates + self.outcome.deleted

    @property
    def to(self) -> tuple[str, ...]:
        """Leaves out the services that need not read the rows."""
        if self.readers is None:
            return self.receivers
        return tuple(name for name in self.receivers if name not in self.optional or name in self.readers)


class ChunkIndexed(ChunkEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a chunk are searchable."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    documents: int


class ChunkCounted(ChunkEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a chunk are included in every rollup of their dataset."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    groups: int


class SearchCompleted(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A search result is stored: `hits` rows of at least `total` matches in version `version` of the dataset."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    hits: int
    total: int
    version: int


class ReportRefreshed(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The rollups of a report's datasets contain everything up to `versions`, after round `round` of the command.

    `chunks` is the number of chunks that this job added to them.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)
    identity: ClassVar[tuple[str, ...]] = ("job_id", "round")

    report: str
    round: int
    versions: dict[str, int]
    chunks: int


class RollupRebuilt(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A rollup of `groups` groups matches the rows of its dataset; `mended` groups had to be corrected."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    rollup: str
    version: int
    groups: int
    mended: int


class IndexRebuilt(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Searches use `generation` of the index, which has the rows up to `version`; null without a declared search."""

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)

    generation: int | None = None
    version: int = 0


class WorkFailed(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A service gave up on `message` after its last attempt, so the job fails.

    `redriven` is how often the message was redriven before: each time that it is given up is an event of its own.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway",)
    identity: ClassVar[tuple[str, ...]] = ("message_id",)

    message_id: UUID
    message: str
    problem: Problem
    redriven: int = 0

    @property
    def id(self) -> UUID:
        """Derived from `message_id` alone, as before there was a redrive, if it is 0."""
        first = super().id
        return uuid5(NAMESPACE, f"{first}/{self.redriven}") if self.redriven else first


class PublicJobEvent(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A public event about a job. `job` is the body of `GET /v1/jobs/{id}` at that moment.

    A retry starts the next `run`.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id", "sequence")

    sequence: int
    run: int = 1
    job: dict[str, Any]


class JobCreated(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The job was accepted."""


class JobStarted(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Work on the job has begun."""


class JobProgress(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The job has made progress."""


class JobSucceeded(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Every row is loaded, searchable and in the rollups; the result of a search is stored."""


class JobPartial(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The valid rows are loaded, searchable and in the rollups; the others are stored as failed rows."""


class JobFailed(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The job failed, or its effect is not certain; `job.error` says why."""


class JobCanceled(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The job was canceled on request; `job.outcome` counts the rows that were loaded before, which stay."""


class JobRetried(PublicJobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A failed or canceled job runs again: what is loaded stays, the rest is done."""
