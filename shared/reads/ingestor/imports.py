"""Queries about the jobs that load chunks."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from shared.db import Connection


class JobInput(msgspec.Struct, frozen=True):
    """The dialect and load options of a job's input, and the number of failed rows that are kept."""

    dialect: Dialect
    load_options: LoadOptions
    failed_kept: int


class LoadedChunks(msgspec.Struct, frozen=True):
    """The sums over the loaded chunks of a job, and the version of the dataset after the last of them."""

    outcome: Outcome
    bytes: int
    version: int | None


async def select_input(db: Connection, job_id: UUID) -> JobInput | None:
    """Returns the job's input, or None until the ingestor has planned the job."""
    row = await db.fetchrow("SELECT dialect, load_options, failed_kept FROM ingestor.imports WHERE job_id = $1", job_id)
    return msgspec.convert(dict(row), JobInput) if row else None


async def select_stopped(db: Connection, job_ids: Sequence[UUID]) -> dict[UUID, Problem]:
    """Selects the reasons why the ingestor stopped jobs, of those that it stopped."""
    if not job_ids:
        return {}
    rows = await db.fetch(
        "SELECT job_id, stopped FROM ingestor.imports WHERE job_id = ANY($1) AND stopped IS NOT NULL", job_ids
    )
    return {row["job_id"]: msgspec.convert(row["stopped"], Problem) for row in rows}


async def select_loaded(db: Connection, job_id: UUID) -> LoadedChunks:
    """Returns what a job has loaded. Events about it may still be on their way."""
    counts = Outcome.__struct_fields__
    row = await db.fetchrow(
        f"""
        SELECT coalesce(sum(end_byte - start_byte), 0)::bigint AS bytes, max(version) AS version,
               {", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in counts)}
        FROM ingestor.chunks WHERE job_id = $1 AND loaded_at IS NOT NULL
        """,
        job_id,
    )
    sums = dict(row or {})
    return LoadedChunks(Outcome(**{name: sums.get(name, 0) for name in counts}), sums["bytes"], sums["version"])
