"""Queries about jobs that are being stopped: by a request, or because their deadline is over."""

from typing import Literal
from uuid import UUID

from shared.db import Connection

Reason = Literal["requested", "deadline"]


async def insert_cancellation(db: Connection, job_id: UUID) -> None:
    """Records that a job is to be canceled. Lock the job before: it must not have ended."""
    await db.execute(
        "INSERT INTO cancellations (job_id, reason) VALUES ($1, 'requested') ON CONFLICT (job_id) DO NOTHING", job_id
    )


async def insert_overdue(db: Connection) -> None:
    """Records the unfinished jobs whose deadline is over, except those that are locked."""
    await db.execute(
        """
        INSERT INTO cancellations (job_id, reason)
        SELECT id, 'deadline' FROM jobs WHERE finished_at IS NULL AND deadline_at < now() FOR UPDATE SKIP LOCKED
        ON CONFLICT (job_id) DO NOTHING
        """
    )


async def select_job_ids(db: Connection) -> list[UUID]:
    """Returns the jobs that are being stopped."""
    return [row["job_id"] for row in await db.fetch("SELECT job_id FROM cancellations ORDER BY requested_at")]


async def select_reason(db: Connection, job_id: UUID) -> Reason | None:
    """Returns why the job is being stopped; None if it is not."""
    reason: Reason | None = await db.fetchval("SELECT reason FROM cancellations WHERE job_id = $1", job_id)
    return reason


async def delete_cancellation(db: Connection, job_id: UUID) -> None:
    """Ends the stopping of a job."""
    await db.execute("DELETE FROM cancellations WHERE job_id = $1", job_id)
