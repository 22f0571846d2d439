"""What becomes of refused rows later: a job takes them up again, or somebody gives them up."""

from typing import Any

import msgspec

from services.ingestor import chunk_ledger
from services.ingestor.imports import failed_rows
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DiscardRows, LoadChunk, PlanReplay
from shared.contracts.events import ImportPlanned
from shared.contracts.parts import Dialect, Problem
from shared.db import Connection


async def plan_replay(command: PlanReplay, db: Connection) -> list[LoadChunk | ImportPlanned]:
    """Takes up the rows that can be read again; what is left stays open, and the job's warning says so."""
    written, dataset = await failed_rows.select_written(db, command.replay_of)
    claimed = await failed_rows.claim_rows(db, command)
    loads: list[LoadChunk] = []
    end = 0
    for piece in claimed:
        start, end = end, end + piece.bytes
        loads.append(
            LoadChunk(
                dataset=command.dataset,
                job_id=command.job_id,
                chunk=piece.chunk,
                start=start,
                end=end,
                line=piece.line,
            )
        )
    unknown = await failed_rows.select_unknown_fields(db, command.job_id)
    await chunk_ledger.insert_plan(db, command, _dialect(written, dataset, unknown), loads, bytes_total=end)
    left = await failed_rows.count_left(db, command)
    warning = _left_out(left) if left else None
    if warning is not None:
        await failed_rows.update_warning(db, command.job_id, warning)
    about: dict[str, Any] = {"dataset": command.dataset, "job_id": command.job_id}
    return [*loads, ImportPlanned(**about, chunks=len(loads), bytes=end, warning=warning)]


async def discard_rows(command: DiscardRows, db: Connection) -> None:
    """A second time it finds nothing to do."""
    await failed_rows.discard_rows(db, command)


def _dialect(written: Dialect, dataset: Dataset, unknown: set[str]) -> Dialect:
    """Of rows as they are kept, one after the other. JSON may name fields that have been declared meanwhile."""
    if written.format == "csv":
        return msgspec.structs.replace(written, header=False)
    known = {*written.columns, *unknown}
    columns = tuple(field.name for field in dataset.input_fields if field.name in known)
    return Dialect(columns=columns, header=False, format="ndjson")


def _left_out(rows: int) -> Problem:
    return Problem(
        code="rows_left_out",
        detail=f"{rows} failed rows stay open: they can't be read again as they are.",
        hint="Download the failed rows as CSV, mend them and import the file.",
    )
