"""The published table of the gateway: the jobs that are being stopped."""

from uuid import UUID

from shared.db import Connection


async def select_canceled_jobs(db: Connection) -> set[UUID]:
    """Returns the jobs whose commands must not run. There is a row only until the job has ended."""
    return {row["job_id"] for row in await db.fetch("SELECT job_id FROM gateway.cancellations")}
