"""How long the gateway keeps jobs, events and ticks."""

from uuid import UUID

from shared.db import Connection
from shared.retention import OLD, STEP_ROWS, Position, Retention, Step, rows_by_age, rows_by_key, run_until_few

FIRST_ID = UUID(int=0)


async def delete_job_chunks(db: Connection, days: int, position: Position) -> Step:
    """Deletes the chunks of jobs that ended well. A failed job keeps its chunks: a retry continues from them."""
    found = await db.fetch(
        f"SELECT job_id FROM chunks WHERE job_id > $1 ORDER BY job_id LIMIT {STEP_ROWS}", position or FIRST_ID
    )
    status = await db.execute(
        f"""
        DELETE FROM chunks WHERE job_id = ANY (ARRAY(
            SELECT id FROM jobs
            WHERE id = ANY($2::uuid[]) AND status IN ('succeeded', 'partial') AND finished_at < {OLD}
        ))
        """,
        days,
        list({row["job_id"] for row in found}),
    )
    return Step(int(status.split()[-1]), found[-1]["job_id"] if len(found) == STEP_ROWS else None)


RETENTIONS = (
    Retention("jobs", "after the end of the job", rows_by_age("jobs", "finished_at"), "keep_jobs_days"),
    Retention(
        "jobs.idempotency_key",
        "after the request",
        run_until_few(
            f"""
            UPDATE jobs SET idempotency_key = NULL WHERE id = ANY (ARRAY(
                SELECT id FROM jobs WHERE idempotency_key IS NOT NULL AND created_at < {OLD}
                ORDER BY created_at LIMIT {STEP_ROWS} FOR UPDATE SKIP LOCKED
            ))
            """
        ),
        "keep_idempotency_keys_days",
    ),
    Retention("attached", "after the request", rows_by_age("attached", "attached_at"), "keep_idempotency_keys_days"),
    Retention(
        "chunks",
        "after the end of a job that succeeded or is partial; those of other jobs go with the job",
        delete_job_chunks,
        "keep_job_chunks_days",
    ),
    Retention(
        "events",
        "after the event; those of unfinished jobs stay",
        rows_by_key(
            "events",
            "id",
            "time",
            unless="EXISTS (SELECT FROM jobs j WHERE j.id = t.job_id AND j.finished_at IS NULL)",
        ),
        "keep_events_days",
    ),
    Retention("ticks", "after the decision", rows_by_age("ticks", "decided_at"), "keep_ticks_days"),
)
STEADY = {
    "api_keys": "one row per key; revoked keys stay, so that jobs have their author",
    "cancellations": "one row per job that is being stopped",
    "counters": "one row",
    "schedules": "one row per scheduled source",
}
"""Tables that do not grow, with the reason."""
