"""Shelving: ends the open commands of canceled jobs without handling them; a retry of the job takes them up."""

from collections.abc import Collection
from uuid import UUID

import msgspec

from shared.bus.ledger import outboxes
from shared.contracts.parts import Problem
from shared.db import Connection
from shared.reads.gateway import select_canceled_jobs

CANCELED = Problem(code="canceled", detail="The job was stopped.", hint="A retry of the job does this work.")


async def shelve(db: Connection, service: str, job_ids: Collection[UUID]) -> int:
    """Turns the open commands of the jobs that this service receives into dead letters; returns their number.

    They may wait to be sent, for delivery or for a retry; a later delivery is a duplicate. Waits for those that another
    transaction is handling.
    """
    rows = await db.fetch(
        f"""
        WITH open AS MATERIALIZED (
            SELECT DISTINCT ON (id) * FROM {outboxes(service)} o
            WHERE command AND subject = ANY($1::text[]) AND receivers @> ARRAY[$2]
              AND NOT EXISTS (SELECT FROM inbox i WHERE i.id = o.id)
            ORDER BY id
        ), ended AS (
            INSERT INTO inbox (id, name) SELECT id, name FROM open ON CONFLICT DO NOTHING RETURNING id
        ), copies AS (
            DELETE FROM outbox USING ended WHERE outbox.id = ended.id AND outbox.queue <> '' AND receivers = '{{}}'
        )
        INSERT INTO dead_letters
               (id, queue, name, dataset, job_id, data, command, reason, problem, attempts, created_at)
        SELECT id, $2 || '.' || name, name, dataset, subject::uuid, data, true, 'canceled', $3,
               (SELECT count(*) FROM attempts a WHERE a.message_id = open.id AND a.problem IS NOT NULL), created_at
        FROM open JOIN ended USING (id)
        ON CONFLICT (id) DO UPDATE SET state = 'dead', died_at = now(), settled_at = NULL, reason = excluded.reason,
               problem = excluded.problem, attempts = excluded.attempts
        RETURNING id
        """,
        [str(job_id) for job_id in job_ids],
        service,
        msgspec.to_builtins(CANCELED),
    )
    return len(rows)


async def shelve_canceled(db: Connection, service: str, job_id: UUID) -> None:
    """Shelves the commands of the job, unless its cancellation is over: they belong to its next run then."""
    if job_id in await select_canceled_jobs(db):
        await shelve(db, service, [job_id])
