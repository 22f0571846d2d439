"""Parses the input of one chunk, or of several at once, and says which row is whose."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from services.ingestor.chunk_ledger import Chunk
from services.ingestor.parse import parser
from services.ingestor.parse.constraints import BadConstraint
from services.ingestor.parse.parser import Batch
from services.ingestor.parse.row_errors import FailedRow, RowCountMismatch
from services.ingestor.threads import offload
from services.ingestor.write import queries
from shared.bus.failures import PermanentFailure
from shared.contracts.parts import Problem
from shared.db import Connection

Lines = npt.NDArray[np.int64]


class ChunkInput(NamedTuple):
    """The data of a chunk of `size` bytes, which begin on physical line `line`, or whose rows come from `lines`."""

    chunk: Chunk
    data: bytes
    size: int
    line: int = 1
    lines: Sequence[int] = ()


class ChunkRows(NamedTuple):
    """The rows of chunks that were parsed together. `last_lines` are the numbers of their last lines."""

    inputs: Sequence[ChunkInput]
    batch: Batch
    last_lines: Lines

    def places(self) -> npt.NDArray[np.intp]:
        """Returns, for each good row, the place of its chunk among the inputs."""
        return self._find(self.batch.lines)

    def failed(self) -> list[list[FailedRow]]:
        """Returns the failed rows of each chunk. The lines of each of several chunks count from 1."""
        if len(self.inputs) == 1:
            return [self.batch.failed]
        failed: list[list[FailedRow]] = [[] for _ in self.inputs]
        places = self._find(np.array([row.line for row in self.batch.failed], np.int64)).tolist()
        before = [0, *self.last_lines.tolist()]
        for place, row in zip(places, self.batch.failed, strict=True):
            failed[place].append(msgspec.structs.replace(row, line=row.line - before[place]))
        return failed

    def rows_read(self) -> list[int]:
        """Returns the number of rows of each chunk."""
        counts: list[int] = np.bincount(self._find(self.batch.records.lines + 1), minlength=len(self.inputs)).tolist()
        return counts

    def _find(self, lines: Lines) -> npt.NDArray[np.intp]:
        return np.searchsorted(self.last_lines[:-1], lines)


async def parse(db: Connection, inputs: Sequence[ChunkInput]) -> ChunkRows:
    """Parses chunks with the same dataset and dialect. Each of several is a batch, whose lines count from 1.

    Raises PermanentFailure.
    """
    chunk, data, _, line, lines = inputs[0]
    dataset = chunk.dataset
    if len(inputs) > 1:
        data = b"\n".join(item.data for item in inputs)
    try:
        parsed = await offload(len(data), parser.parse, data, dataset, chunk.dialect, line=line)
        unknown: dict[str, pl.Series] = {}
        if chunk.load_options.check_references:
            for field in (dataset.field(name) for name in chunk.dialect.fields):
                if field.references:
                    unknown[field.name] = await queries.select_missing_references(
                        db, field.references, parsed.values(field.name)
                    )
        batch = await offload(len(data), parser.build_batch, parsed, now=chunk.now, unknown=unknown)
    except BadConstraint as error:
        raise PermanentFailure(Problem(code="bad_declaration", detail=f"Dataset {dataset.name}: {error}")) from error
    last_lines = np.cumsum([item.data.count(b"\n") + 1 for item in inputs])
    return ChunkRows(inputs, _restore_lines(batch, lines) if lines else batch, last_lines)


def _restore_lines(batch: Batch, lines: Sequence[int]) -> Batch:
    """Returns the batch with the lines of the rows in their original input."""
    current = (batch.records.lines + 1).tolist()
    if len(current) != len(lines):
        raise RowCountMismatch(f"{len(lines)} rows, {len(current)} records")
    original = dict(zip(current, lines, strict=True))
    failed = [msgspec.structs.replace(row, line=original[row.line]) for row in batch.failed]
    return batch._replace(lines=np.array([original[line] for line in batch.lines.tolist()], np.int64), failed=failed)
