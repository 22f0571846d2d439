"""Celery task that loads the batches accepted by `jobs_fastapi`.

As durable as Millrace: quorum queue, persistent messages, confirmed publishing, acknowledgement after the commit.
"""

import os

from celery import Celery
from sqlalchemy import create_engine, text

LOAD = text("""
    INSERT INTO bench_peer.hires
    SELECT r.* FROM bench_peer.jobs j, jsonb_populate_recordset(NULL::bench_peer.hires, j.rows) r WHERE j.id = :id
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, hired_at = excluded.hired_at,
        department_id = excluded.department_id, job_id = excluded.job_id
""")
FINISH = text("UPDATE bench_peer.jobs SET status = 'succeeded', finished_at = clock_timestamp() WHERE id = :id")

app = Celery("bench", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_default_queue="bench_peer",
    task_default_queue_type="quorum",
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
)
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"), pool_size=1, max_overflow=0
)


def _load_rows(job: str) -> None:
    with engine.begin() as db:
        db.execute(LOAD, {"id": job})
        db.execute(FINISH, {"id": job})


load_rows = app.task(_load_rows, name="load_rows")
