"""Many old jobs: files that no job needs go, and gauges and pages of the job list do not read all jobs."""

import os
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from services.gateway.jobs import gauges, queries
from services.gateway.jobs.job import Status
from services.gateway.jobs.spool_cleaner import SpoolCleaner
from shared.db import Pool
from shared.spool import Spool

HOUR = 3600.0


async def insert_job(db: Pool, status: Status, *, ended: float = 0.0, dataset: str = "items") -> UUID:
    """An import that ended so many seconds ago; its file has its id as name."""
    job = uuid4()
    await db.execute(
        """
        INSERT INTO jobs (id, kind, dataset, status, phase, command, fingerprint, bytes_total, outcome, created_at,
                          deadline_at, finished_at)
        VALUES ($1, 'import', $4, $2, 'done', $5, '', 0, '{}', now() - interval '100 seconds', now(),
                CASE WHEN $2 NOT IN ('queued', 'running') THEN now() - $3 * interval '1 second' END)
        """,
        job,
        status,
        ended,
        dataset,
        {"file": str(job)},
    )
    return job


async def test_files_go_an_hour_after_the_job_or_after_a_broken_upload(gateway: Pool, tmp_path: Path) -> None:
    running = await insert_job(gateway, "running")
    ended = await insert_job(gateway, "succeeded", ended=2 * HOUR)
    just_ended = await insert_job(gateway, "failed", ended=HOUR / 2)
    names = [str(job) for job in (running, ended, just_ended)] + ["broken.part", "broken", "new"]
    for name in names:
        (tmp_path / name).write_text("1")
        os.utime(tmp_path / name, (time.time() - (0 if name == "new" else 2 * HOUR),) * 2)
    await SpoolCleaner(Spool(tmp_path.as_uri())).run(gateway)
    assert {path.name for path in tmp_path.iterdir()} == {str(running), str(just_ended), "new"}


async def test_the_gauges_count_unfinished_jobs_and_those_that_ended_just_now(gateway: Pool) -> None:
    for status, ended in (("running", 0.0), ("running", 0.0), ("failed", 60.0), ("failed", 2 * HOUR)):
        await insert_job(gateway, status, ended=ended)  # type: ignore[arg-type]
    await gauges.run(gateway)

    def jobs(status: str) -> float | None:
        return REGISTRY.get_sample_value("millrace_jobs", {"kind": "import", "status": status})

    assert (jobs("running"), jobs("failed"), jobs("queued")) == (2, 1, 0)
    assert 100 <= (REGISTRY.get_sample_value("millrace_oldest_unfinished_job_seconds") or 0) < 200


async def test_the_job_list_takes_any_filters(gateway: Pool) -> None:
    made = [
        (dataset, status, await insert_job(gateway, status, dataset=dataset))
        for dataset in ("items", "departments")
        for status in ("queued", "failed")
        for _ in range(3)
    ]
    async with gateway.acquire() as db:
        for dataset in (None, "items", "nothing"):
            for status in (None, "failed", "partial"):
                expected = sorted(
                    (job for of, state, job in made if dataset in (None, of) and status in (None, state)), reverse=True
                )
                for before in (None, *expected[:1]):
                    found = await queries.select_jobs(db, dataset=dataset, status=status, limit=4, before=before)
                    assert [job.id for job in found] == (expected[1:] if before else expected)[:4]


@pytest.mark.parametrize(
    "condition",
    ["finished_at IS NULL", "finished_at > now() - interval '1 hour'", "dataset = 'x' AND status = 'failed'"],
)
async def test_no_periodic_query_and_no_page_reads_all_jobs(gateway: Pool, condition: str) -> None:
    await gateway.execute(
        """
        INSERT INTO jobs (id, kind, dataset, status, phase, command, fingerprint, bytes_total, outcome, deadline_at,
                          finished_at)
        SELECT gen_random_uuid(), 'import', 'items', 'succeeded', 'done', '{}', '', 0, '{}', now(),
               now() - interval '9 days'
        FROM generate_series(1, 20000)
        """
    )
    await gateway.execute("ANALYZE jobs")
    plan = await gateway.fetch(f"EXPLAIN SELECT command FROM jobs WHERE {condition}")
    assert not any("Seq Scan" in row[0] for row in plan), plan
