"""How a job moves on, from what its chunks have come to. Pure: a tally and a clock go in, the job comes out.

queued -> running -> succeeded | partial | failed
"""

import datetime as dt

import msgspec

from services.gateway.jobs.job import Job
from shared.contracts.parts import Outcome, Problem

LOADING, INDEXING, COUNTING = 80.0, 10.0, 10.0
"""Shares of the percentage."""
UNFINISHED = 99.9


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The set of chunks that was heard of, summed up."""

    loaded: int = 0
    indexed: int = 0
    counted: int = 0
    bytes: int = 0
    version: int | None = None
    outcome: Outcome = Outcome()


def advance(job: Job, tally: Tally, now: dt.datetime) -> Job:
    """The job after the tally. Nothing moves a job that has ended."""
    if job.ended:
        return job
    loaded_all = job.chunks is not None and tally.loaded >= job.chunks
    complete = loaded_all and tally.indexed == tally.counted == job.chunks
    moved = msgspec.structs.replace(
        job,
        status="running",
        phase="done" if complete else "index" if loaded_all else "plan" if job.chunks is None else "load",
        started_at=job.started_at or now,
        version=tally.version,
        bytes_done=job.bytes_total if loaded_all else tally.bytes,
        outcome=tally.outcome,
        percent=100.0 if complete else max(job.percent, _percent(job, tally)),
    )
    return _end(moved, tally, now) if complete else moved


def answer(job: Job, version: int, now: dt.datetime) -> Job:
    """A search, a refresh or a rebuild, ended by its answer; a job that has ended already stays what it is."""
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
    """The job, ended by a problem; a job that has ended already stays what it is."""
    if job.ended:
        return job
    return msgspec.structs.replace(
        job, status="failed", phase="done", error=problem, started_at=job.started_at or now, finished_at=now
    )


def _end(job: Job, tally: Tally, now: dt.datetime) -> Job:
    outcome = tally.outcome
    if not outcome.balanced() or tally.loaded != job.chunks or tally.bytes != job.bytes_planned:
        problem = Problem(
            code="accounting",
            detail=f"The counts of the chunks do not add up: {tally}, planned {job.chunks} chunks"
            f" and {job.bytes_planned} bytes.",
            hint="The rows may all be there, but Millrace can't vouch for it. Please report this as a bug.",
        )
        return fail(job, problem, now)
    if outcome.failed and outcome.failed == outcome.rows_read:
        problem = Problem(
            code="all_rows_failed",
            detail=f"None of the {outcome.rows_read} rows could be loaded.",
            hint="The failed rows say why; a wrong delimiter or column order is the usual cause.",
        )
        return fail(job, problem, now)
    return msgspec.structs.replace(job, status="partial" if outcome.failed else "succeeded", finished_at=now)


def _percent(job: Job, tally: Tally) -> float:
    if not job.chunks or not job.bytes_planned:
        return 0.0
    share = (
        LOADING * tally.bytes / job.bytes_planned
        + INDEXING * tally.indexed / job.chunks
        + COUNTING * tally.counted / job.chunks
    )
    return min(round(share, 1), UNFINISHED)
