"""Sets the gauges of jobs."""

from typing import get_args

from services.gateway.jobs import kinds
from services.gateway.jobs.job import ENDED, Status
from shared.db import Pool
from shared.telemetry import metrics

EVERY_SECONDS = 5.0


async def run(pool: Pool) -> int:
    """Counts unfinished jobs and those of the last hour; writes no messages."""
    states = await pool.fetch(
        """
        SELECT kind, status, count(*), extract(epoch FROM now() - min(created_at))::float8 AS age
        FROM (
            SELECT kind, status, created_at FROM jobs WHERE finished_at IS NULL
            UNION ALL SELECT kind, status, created_at FROM jobs WHERE finished_at > now() - interval '1 hour'
        ) recent
        GROUP BY kind, status
        """
    )
    counts = {(state["kind"], state["status"]): state["count"] for state in states}
    for kind in kinds.registered():
        for status in get_args(Status):
            metrics.JOBS.labels(kind.name, status).set(counts.get((kind.name, status), 0))
    unfinished = [state["age"] for state in states if state["status"] not in ENDED]
    metrics.OLDEST_JOB_SECONDS.set(max(unfinished, default=0.0))
    return 0
