"""Orders. Each is addressed to one service and asks for one thing."""

from typing import ClassVar
from uuid import UUID

from shared.contracts.message import Command
from shared.contracts.parts import Dialect


class PlanImport(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Cut a spooled file into chunks. `bytes_total` is the size of the file in bytes."""

    identity: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: UUID
    file: str
    sha256: str
    bytes_total: int
    dialect: Dialect


class LoadChunk(Command, frozen=True, kw_only=True, omit_defaults=True):
    """Load bytes `start` to `end` of the file; the first of them stands on physical line `line`.

    An `overlong` chunk is a single line that is too long for a row, however long it is.
    """

    identity: ClassVar[tuple[str, ...]] = ("job_id", "chunk")

    job_id: UUID
    chunk: int
    start: int
    end: int
    line: int
    overlong: bool = False
