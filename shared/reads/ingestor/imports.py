"""Queries about the jobs that load chunks."""

from uuid import UUID

import msgspec

from shared.contracts.parts import Dialect, LoadOptions, Problem
from shared.db import Connection


class JobInput(msgspec.Struct, frozen=True):
    """The dialect and load options of a job's input, and the number of failed rows that are kept."""

    dialect: Dialect
    load_options: LoadOptions
    failed_kept: int


async def select_input(db: Connection, job_id: UUID) -> JobInput | None:
    """Returns the job's input, or None until the ingestor has planned the job."""
    row = await db.fetchrow("SELECT dialect, load_options, failed_kept FROM ingestor.imports WHERE job_id = $1", job_id)
    return msgspec.convert(dict(row), JobInput) if row else None


async def select_stopped(db: Connection, job_id: UUID) -> Problem | None:
    """Selects the reason why the ingestor stopped a job, if it did."""
    stopped = await db.fetchval("SELECT stopped FROM ingestor.imports WHERE job_id = $1", job_id)
    return msgspec.convert(stopped, Problem) if stopped else None
