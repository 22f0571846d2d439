"""The state machine of a job. Pure: takes the job, a tally of its chunks and the time, and returns the new job.

queued -> running -> succeeded | partial | failed | canceled; a retry leads from failed and canceled back to running.
"""

import datetime as dt

import msgspec

from services.gateway.jobs.job import Job, Phase
from shared.contracts.parts import Outcome, Problem
from shared.reads.ingestor.imports import LoadedChunks

LOAD_SHARE, INDEX_SHARE, COUNT_SHARE = 80.0, 10.0, 10.0
"""The percentage of the progress that each step is worth."""
MAX_UNFINISHED = 99.9


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the chunks of a job that have been reported so far."""

    loaded: int = 0
    indexed: int = 0
    counted: int = 0
    bytes: int = 0
    version: int | None = None
    outcome: Outcome = Outcome()


def advance(job: Job, tally: Tally, now: dt.datetime) -> Job:
    """Returns the job after the tally. A job that has ended stays unchanged."""
    if job.ended:
        return job
    loaded_all = job.chunks is not None and tally.loaded >= job.chunks
    complete = loaded_all and tally.indexed == tally.counted == job.chunks
    current = msgspec.structs.replace(
        job,
        status="running",
        phase="done" if complete else "index" if loaded_all else "plan" if job.chunks is None else "load",
        started_at=job.started_at or now,
        version=tally.version,
        bytes_done=job.bytes_total if loaded_all else tally.bytes,
        outcome=tally.outcome,
        percent=100.0 if complete else max(job.percent, _percent(job, tally)),
    )
    return _finish(current, tally, now) if complete else current


def succeed(job: Job, version: int, now: dt.datetime) -> Job:
    """Returns a job without chunks as succeeded. A job that has ended stays unchanged."""
    if job.ended:
        return job
    return msgspec.structs.replace(
        job,
        status="succeeded",
        phase="done",
        version=version,
        percent=100.0,
        started_at=job.started_at or now,
        finished_at=now,
    )


def fail(job: Job, problem: Problem, now: dt.datetime) -> Job:
    """Returns the job as failed. A job that has ended stays unchanged."""
    if job.ended:
        return job
    return msgspec.structs.replace(
        job, status="failed", phase="done", error=problem, started_at=job.started_at or now, finished_at=now
    )


def stop(job: Job, problem: Problem, loaded: LoadedChunks, now: dt.datetime, *, canceled: bool) -> Job:
    """Returns the job as canceled, or as failed; `loaded` is what its owner has loaded, which stays."""
    if job.ended:
        return job
    stopped = msgspec.structs.replace(
        job,
        outcome=loaded.outcome,
        version=loaded.version if loaded.version is not None else job.version,
        bytes_done=min(loaded.bytes, job.bytes_total),
    )
    failed = fail(stopped, problem, now)
    return msgspec.structs.replace(failed, status="canceled") if canceled else failed


def reopen(job: Job, now: dt.datetime, *, phase: Phase, seconds: float) -> Job:
    """Returns a failed or canceled job as running, in its next run, with a deadline in `seconds`.

    `phase` is the first one of its kind.
    """
    return msgspec.structs.replace(
        job,
        status="running",
        phase=phase if job.chunks is None else "load",
        error=None,
        finished_at=None,
        run=job.run + 1,
        deadline_at=now + dt.timedelta(seconds=seconds),
    )


def _finish(job: Job, tally: Tally, now: dt.datetime) -> Job:
    outcome = tally.outcome
    if not outcome.balanced() or tally.loaded != job.chunks or tally.bytes != job.bytes_planned:
        problem = Problem(
            code="accounting",
            detail=f"The counts of the chunks do not add up: {tally}, planned {job.chunks} chunks"
            f" and {job.bytes_planned} bytes.",
            hint="The rows may be complete, but Millrace can't prove it. Please report this as a bug.",
        )
        return fail(job, problem, now)
    if outcome.failed and outcome.failed == outcome.rows_read:
        problem = Problem(
            code="all_rows_failed",
            detail=f"None of the {outcome.rows_read} rows could be loaded.",
            hint="See the errors of the failed rows; a wrong delimiter or column order is the usual cause.",
        )
        return fail(job, problem, now)
    return msgspec.structs.replace(job, status="partial" if outcome.failed else "succeeded", finished_at=now)


def _percent(job: Job, tally: Tally) -> float:
    if not job.chunks or not job.bytes_planned:
        return 0.0
    share = (
        LOAD_SHARE * tally.bytes / job.bytes_planned
        + INDEX_SHARE * tally.indexed / job.chunks
        + COUNT_SHARE * tally.counted / job.chunks
    )
    return min(round(share, 1), MAX_UNFINISHED)
