"""PlanReplay and DiscardRows: failed rows are loaded again by a job, or discarded."""

from typing import Any

import msgspec

from services.ingestor import new_chunks
from services.ingestor.imports import failed_rows
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DiscardRows, LoadChunk, PlanReplay
from shared.contracts.events import ImportPlanned
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection


async def plan_replay(command: PlanReplay, db: Connection) -> list[LoadChunk | ImportPlanned]:
    """Claims the failed rows that can be parsed again. The others stay open, and the job gets a warning."""
    dialect, dataset = await failed_rows.select_dialect_and_dataset(db, command.replay_of)
    claimed = await failed_rows.claim_rows(db, command)
    loads: list[LoadChunk] = []
    end = 0
    for chunk in claimed:
        start, end = end, end + chunk.bytes
        loads.append(
            LoadChunk(
                dataset=command.dataset,
                job_id=command.job_id,
                chunk=chunk.chunk,
                start=start,
                end=end,
                line=chunk.line,
            )
        )
    unknown = await failed_rows.select_unknown_fields(db, command.job_id)
    await new_chunks.insert_plan(db, command, _replay_dialect(dialect, dataset, unknown), loads, bytes_total=end)
    left = await failed_rows.count_unreadable(db, command)
    warning = _rows_left_out(left) if left else None
    if warning is not None:
        await failed_rows.update_warning(db, command.job_id, warning)
    job: dict[str, Any] = {"dataset": command.dataset, "job_id": command.job_id}
    return [*loads, ImportPlanned(**job, chunks=len(loads), bytes=end, warning=warning)]


async def discard_rows(command: DiscardRows, db: Connection) -> None:
    """Discards open rows; a repeated command finds none."""
    await failed_rows.discard_rows(db, command)


def _replay_dialect(original: Dialect, dataset: Dataset, unknown: set[str]) -> Dialect:
    """Returns the dialect of failed rows as they are kept. JSON rows may have keys that became fields since then."""
    if original.format == "csv":
        return msgspec.structs.replace(original, header=False)
    known = {*original.columns, *unknown}
    columns = tuple(field.name for field in dataset.input_fields if field.name in known)
    return Dialect(columns=columns, header=False, format="ndjson")


def _rows_left_out(rows: int) -> Problem:
    return Problem(
        code="rows_left_out",
        detail=f"{rows} failed rows stay open, because they can't be parsed.",
        hint="Download the failed rows as CSV, fix them and import the file.",
    )
