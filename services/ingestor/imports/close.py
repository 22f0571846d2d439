"""Closes loaded chunks: keeps their failed rows, closes their ledger lines, and stops jobs that exceed a limit."""

from collections.abc import Sequence
from uuid import UUID

from services.ingestor import chunk_ledger
from services.ingestor.chunk_ledger import Chunk, LoadedChunk
from services.ingestor.imports import failed_rows, replace
from services.ingestor.parse import parser
from shared.contracts.commands import SwapStage
from shared.contracts.events import ChunkLoaded, ImportStopped
from shared.contracts.parts import Outcome, Problem
from shared.db import Connection
from shared.telemetry import metrics

LoadResult = list[ChunkLoaded | SwapStage | ImportStopped]
ROW_COUNTERS = Outcome.__struct_fields__[1:]
LEAST_ROWS_OF_RATE = 1000
"""Rows to read before `max_error_rate` applies."""


class JobStopped(Exception):
    """The job was stopped in the meantime, so the work on the chunk is rolled back."""


async def close(db: Connection, loaded: Sequence[LoadedChunk]) -> LoadResult:
    """Returns the events of the chunks, in their order, and what follows from each. Raises JobStopped."""
    if failed := [item for item in loaded if item.failed]:
        await failed_rows.insert_failed_rows(db, failed)
    results: LoadResult = []
    problems: dict[UUID, Problem] = {}
    for event, item in zip(await chunk_ledger.close_chunks(db, loaded), loaded, strict=True):
        results.append(event)
        chunk, total, waiting = item.chunk, item.outcome, 0
        if chunk.has_siblings:
            total, waiting = await _select_outcome(db, chunk)
        if problem := _exceeded_limit(chunk, total):
            problems[chunk.job_id] = problem
            results.append(
                ImportStopped(dataset=chunk.dataset.name, job_id=chunk.job_id, problem=problem, outcome=total)
            )
        elif chunk.load_options.mode == "replace" and not chunk.load_options.validate_only and not waiting:
            swap = await replace.select_swap_chunk(db, chunk.job_id)
            results.append(SwapStage(dataset=chunk.dataset.name, job_id=chunk.job_id, chunk=swap))
    if problems:
        await chunk_ledger.update_stopped(db, problems)
        for item in loaded:
            if item.chunk.job_id in problems and item.chunk.load_options.mode == "replace":
                await replace.drop_stage(db, item.chunk.job_id)
    _count_metrics(loaded)
    return results


async def _select_outcome(db: Connection, chunk: Chunk) -> tuple[Outcome, int]:
    """Returns the outcome of the job so far, and how many of its chunks are not loaded. Raises JobStopped."""
    total, waiting, stopped = await chunk_ledger.select_outcome(db, chunk.job_id)
    if stopped is not None:
        raise JobStopped
    return total, waiting


def _exceeded_limit(chunk: Chunk, total: Outcome) -> Problem | None:
    """Returns the problem that stops the job, if it is strict or has too many failed rows."""
    load_options = chunk.load_options
    if load_options.strict and total.failed:
        detail = f"{total.failed} of {total.rows_read} rows can't be loaded, so no row was loaded."
        return Problem(code="rows_refused", detail=detail, hint="Fix them, or send handling=lenient.")
    hint = "Rows loaded so far stay. See the failed rows; allow more errors, or fix the input and send it again."
    if load_options.mode == "replace":
        hint = "Nothing was replaced. See the failed rows; fix the input, or allow errors with max_errors."
    if load_options.max_errors is not None and total.failed > load_options.max_errors:
        detail = f"{total.failed} of {total.rows_read} rows failed; {load_options.max_errors} are allowed."
        return Problem(code="too_many_errors", detail=detail, hint=hint)
    rate = load_options.max_error_rate
    if rate is not None and total.rows_read >= LEAST_ROWS_OF_RATE and total.failed > rate * total.rows_read:
        detail = f"{total.failed} of {total.rows_read} rows failed; a rate of {rate} is allowed."
        return Problem(code="too_many_errors", detail=detail, hint=hint)
    return None


def init_metrics(dataset: str) -> None:
    """Sets the row counters of a dataset to 0, so that its first rows show up as an increase."""
    for counter in ROW_COUNTERS:
        metrics.ROWS.labels(dataset, counter)


def _count_metrics(loaded: Sequence[LoadedChunk]) -> None:
    for chunk, outcome, _, failed in loaded:
        for counter in ROW_COUNTERS:
            if number := getattr(outcome, counter):
                metrics.ROWS.labels(chunk.dataset.name, counter).inc(number)
        for (code, _), rows in parser.count_errors(failed).items():
            metrics.FAILED_ROWS.labels(chunk.dataset.name, code).inc(rows)
