"""Orders. Each is addressed to one service and asks for one thing."""

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from shared.contracts.message import Command
from shared.contracts.parts import Dialect, LoadOptions


class JobCommand(Command, frozen=True, kw_only=True, omit_defaults=True):
    """A command that works for a job."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID


class PlanImport(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Cut a spooled file into chunks. `bytes_total` is the size of the file in bytes."""

    file: str
    sha256: str
    bytes_total: int
    dialect: Dialect
    load_options: LoadOptions = msgspec.field(default=LoadOptions(), name="terms")


class LoadChunk(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Load bytes `start` to `end` of the file; the first of them stands on physical line `line`.

    An `overlong` chunk is a single line that is too long for a row, however long it is.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    chunk: int
    start: int
    end: int
    line: int
    overlong: bool = False


class SwapStage(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Make the table equal to the rows that a replacing job has staged, as its last chunk."""

    chunk: int


class LoadRows(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Load a batch: JSON objects, each on one line. `columns` are the fields that some of them names."""

    rows: tuple[msgspec.Raw, ...]
    columns: tuple[str, ...]
    load_options: LoadOptions = msgspec.field(name="terms")


class PullPage(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Pull the next pages of a declared source, as chunk `chunk` of the job; `at` is where its paginator stands."""

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    source: str
    chunk: int
    at: dict[str, Any] = msgspec.field(default_factory=dict)


class PlanReplay(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Load failed rows of the job `replay_of` again, as they are: those with this error, or all that are open."""

    replay_of: UUID
    load_options: LoadOptions = msgspec.field(name="terms")
    code: str | None = None
    column: str | None = None


class PlanDetach(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Take a year of a partitioned dataset out of it; its table stays, in the schema `detached`."""

    year: int


class DetachPartition(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Detach the year's table, as the only chunk of the job: all its rows are deleted from the dataset."""

    chunk: int
    year: int


class DiscardRows(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Mark open failed rows of a job as not worth keeping; `request_id` tells one such request from the next."""

    identity: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: UUID
    failed_in: UUID
    code: str | None = None
    column: str | None = None


class DeclareDataset(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Make the table of a declaration, or change the one that follows revision `follows` (0: there is none)."""

    identity: ClassVar[tuple[str, ...]] = ("dataset", "follows", "digest")

    follows: int
    digest: str
    declaration: dict[str, Any]


class RunSearch(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Answer a question about a dataset once everything up to `min_version` can be found, and keep the answer."""

    question: dict[str, Any]
    min_version: int = 0


class DefineWords(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Ask the dataset's dictionary about its most frequent words, as far as there is no fresh answer.

    `version` is that of the dataset, `moment` counts some seconds each: within one, asking again is the same request.
    """

    identity: ClassVar[tuple[str, ...]] = ("dataset", "version", "moment")

    version: int
    moment: int


class IndexPiece(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Make the documents of a piece of a generation that is being built: the one whose first chunk has this number."""

    identity: ClassVar[tuple[str, ...]] = ("dataset", "generation", "first")

    generation: int
    first: int


class SwitchIndex(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Let a generation of documents that is complete answer from now on."""

    identity: ClassVar[tuple[str, ...]] = ("dataset", "generation")

    generation: int


class BuildIndex(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Make all documents of a dataset anew, while the old ones answer; `request_id` tells one request from the next."""

    identity: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: UUID


class RefreshReport(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Bring the rollups of these datasets up to what is loaded, for a job that refreshes a report.

    `round` tells the times it is asked for: whoever joins a job that is under way wants what was loaded until then.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id", "round")

    report: str
    datasets: tuple[str, ...]
    round: int = 1


class RebuildRollup(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Compute a rollup from the rows of its dataset and mend what differs, while it is read."""

    rollup: str
