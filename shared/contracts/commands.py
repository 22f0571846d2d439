"""Commands: each is handled by exactly one service."""

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from shared.contracts.message import Command
from shared.contracts.parts import Dialect, LoadOptions

NO_JOB = UUID(int=0)
LARGE = "large"
LARGE_BYTES = 64 << 10


class JobCommand(Command, frozen=True, kw_only=True, omit_defaults=True):
    """A command on behalf of a job."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID


class PlanImport(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Split a spooled file into chunks. `bytes_total` is the size of the file in bytes."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)

    file: str
    sha256: str
    bytes_total: int
    dialect: Dialect
    load_options: LoadOptions = msgspec.field(default=LoadOptions(), name="terms")


class LoadChunk(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Load bytes `start` to `end` of the file, which begin at physical line `line`.

    An `overlong` chunk is a single line that is too long for a row.
    """

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)
    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    chunk: int
    start: int
    end: int
    line: int
    overlong: bool = False


class SwapStage(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Replace the table's rows by those that the job has staged, as the last chunk of the job."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)

    chunk: int


class LoadRows(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Load a batch of rows, each a JSON object on one line. `columns` are the fields that occur in any of them."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)
    lanes: ClassVar[tuple[str, ...]] = ("", LARGE)
    large_lane: ClassVar[str | None] = LARGE

    rows: tuple[msgspec.Raw, ...]
    columns: tuple[str, ...]
    load_options: LoadOptions = msgspec.field(name="terms")

    @property
    def row_count(self) -> int:
        """The rows to load."""
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of the rows."""
        return sum(len(memoryview(row)) for row in self.rows)

    @property
    def lane(self) -> str:
        """Large for a batch that many small ones should not wait for, or be in memory with."""
        return LARGE if self.bytes > LARGE_BYTES else ""


class PullPage(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Pull the next pages of a source as chunk `chunk` of the job. `at` is the state of its paginator."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)
    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    source: str
    chunk: int
    at: dict[str, Any] = msgspec.field(default_factory=dict)


class PlanReplay(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Reload unchanged the open failed rows of job `replay_of`: all of them, or those with this error."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)

    replay_of: UUID
    load_options: LoadOptions = msgspec.field(name="terms")
    code: str | None = None
    column: str | None = None


class PlanDetach(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Prepare to detach the partition of a year; its table moves to the schema `detached`."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)

    year: int


class DetachPartition(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Detach the partition of a year as the only chunk of the job, which counts its rows as deleted."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)

    chunk: int
    year: int


class DiscardRows(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Mark open failed rows of the job `failed_in` as discarded. Each request has a `request_id` of its own."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)
    identity: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: UUID
    failed_in: UUID
    code: str | None = None
    column: str | None = None


class DeclareDataset(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Create the table of a declaration, or migrate the table from revision `follows`; 0 if there is no table."""

    receivers: ClassVar[tuple[str, ...]] = ("ingestor",)
    identity: ClassVar[tuple[str, ...]] = ("dataset", "follows", "digest")

    follows: int
    digest: str
    declaration: dict[str, Any]


class RunSearch(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Run a search once the index contains everything up to `min_version`, and store the result."""

    receivers: ClassVar[tuple[str, ...]] = ("indexer",)

    query: dict[str, Any] = msgspec.field(name="question")
    min_version: int = 0


class DefineWords(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Look up the dataset's most frequent words that have no fresh entry in its dictionary.

    `version` is the dataset's. `moment` numbers intervals of some seconds: requests within one are deduplicated.
    """

    receivers: ClassVar[tuple[str, ...]] = ("indexer",)
    identity: ClassVar[tuple[str, ...]] = ("dataset", "version", "moment")

    version: int
    moment: int


class IndexPiece(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Index a piece of an index generation under construction. `first` is the number of the piece's first chunk."""

    receivers: ClassVar[tuple[str, ...]] = ("indexer",)
    identity: ClassVar[tuple[str, ...]] = ("dataset", "generation", "first")

    generation: int
    first: int
    job_id: UUID | None = None


class SwitchIndex(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Make a complete index generation the one that searches use."""

    receivers: ClassVar[tuple[str, ...]] = ("indexer",)
    identity: ClassVar[tuple[str, ...]] = ("dataset", "generation")

    generation: int
    job_id: UUID | None = None


class BuildIndex(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Rebuild a dataset's index while searches use the old one. Each request has a `request_id` of its own."""

    receivers: ClassVar[tuple[str, ...]] = ("indexer",)
    identity: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: UUID
    job_id: UUID = NO_JOB


class RefreshReport(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Bring the rollups of a report's datasets up to date with the loaded chunks.

    `round` increases with each request that joins the running job and wants what was loaded until then.
    """

    receivers: ClassVar[tuple[str, ...]] = ("analytics",)
    identity: ClassVar[tuple[str, ...]] = ("job_id", "round")

    report: str
    datasets: tuple[str, ...]
    round: int = 1


class RebuildRollup(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Recompute a rollup from the rows of its dataset and correct groups that differ, without blocking readers."""

    receivers: ClassVar[tuple[str, ...]] = ("analytics",)

    rollup: str
