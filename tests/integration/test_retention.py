"""Retention: what is old goes, in steps and on one replica; what is needed stays."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY

from services.analytics import retention as analytics_retention
from services.analytics.settings import AnalyticsSettings
from services.gateway import retention as gateway_retention
from services.gateway.settings import GatewaySettings
from services.indexer import retention as indexer_retention
from services.indexer.settings import IndexerSettings
from services.ingestor import retention as ingestor_retention
from services.ingestor.imports import replace
from services.ingestor.settings import IngestorSettings
from shared import retention
from shared.contracts.parts import LoadOptions
from shared.db import Connection, Pool
from shared.retention import LOCK, Position, Retention, RetentionTask, Step, rows_by_age
from shared.settings import ServiceSettings
from tests.integration.ingestor_runner import Ingestor, connected
from tests.integration.pruning import prune
from tests.integration.reader_runners import Analytics, Indexer

REQUIRED: dict[str, Any] = {"database_url": "", "broker_url": ""}
GATEWAY = GatewaySettings(**REQUIRED, spool_url="", catalog_dir="")
REPLACE = LoadOptions(mode="replace", max_shrink=1)
AGE = "UPDATE {} SET {} = {} - interval '91 days'"


def task(service: str) -> RetentionTask:
    declarations: dict[str, tuple[Sequence[Retention], ServiceSettings]] = {
        "gateway": (gateway_retention.RETENTIONS, GATEWAY),
        "ingestor": (ingestor_retention.RETENTIONS, IngestorSettings(**REQUIRED, spool_url="")),
        "indexer": (indexer_retention.RETENTIONS, IndexerSettings(**REQUIRED)),
        "analytics": (analytics_retention.RETENTIONS, AnalyticsSettings(**REQUIRED)),
    }
    return RetentionTask(service, *declarations[service])


@pytest.fixture
async def gateway(database: dict[str, str]) -> AsyncIterator[Pool]:
    async with connected(database["gateway"], "gateway") as pool:
        yield pool


@pytest.fixture
async def admin(database: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database["admin"])
    yield connection
    await connection.close()


async def insert_jobs(db: Pool, status: str, days: int, count: int = 1) -> list[UUID]:
    """Jobs that ended so many days ago, each with three events, a chunk and an idempotency key."""
    rows = await db.fetch(
        """
        WITH job AS (
            INSERT INTO jobs (id, kind, dataset, status, phase, command, fingerprint, bytes_total, outcome,
                              created_at, deadline_at, finished_at, api_key, idempotency_key)
            SELECT gen_random_uuid(), 'import', 'items', $1, 'done', '{}', '', 0, '{}', now() - $2 * interval '1 day',
                   now(),
                   CASE WHEN $1 NOT IN ('queued', 'running') THEN now() - $2 * interval '1 day' END, 'key',
                   gen_random_uuid()::text
            FROM generate_series(1, $3) RETURNING id, created_at
        ), logged AS (
            INSERT INTO events (id, type, dataset, job_id, sequence, time, data)
            SELECT (SELECT coalesce(max(id), 0) FROM events) + row_number() OVER (), 'job.started', 'items', job.id, s,
                   created_at, '{}'
            FROM job, generate_series(1, 3) s
        ), chunk AS (
            INSERT INTO chunks (job_id, chunk) SELECT id, 1 FROM job
        )
        SELECT id FROM job
        """,
        status,
        days,
        count,
    )
    return [row["id"] for row in rows]


async def count(db: Pool, table: str) -> int:
    found: int = await db.fetchval(f"SELECT count(*) FROM {table}")
    return found


@pytest.fixture
async def keyed(gateway: Pool) -> Pool:
    await gateway.execute("INSERT INTO api_keys (id, name, hash, scope) VALUES ('key', 'key', '', 'write')")
    return gateway


async def test_jobs_go_with_their_events_and_chunks_and_unfinished_ones_stay(keyed: Pool) -> None:
    await insert_jobs(keyed, "succeeded", 91, 5000)
    stay = [
        *await insert_jobs(keyed, "running", 400),
        *await insert_jobs(keyed, "failed", 89),
        *await insert_jobs(keyed, "succeeded", 2),
        *await insert_jobs(keyed, "succeeded", 0),
    ]
    await insert_jobs(keyed, "failed", 91)
    await task("gateway").run(keyed)
    assert {row["id"] for row in await keyed.fetch("SELECT id FROM jobs")} == set(stay)
    assert {row["job_id"] for row in await keyed.fetch("SELECT job_id FROM events")} == set(stay)
    # A retry of the failed job continues from its chunks.
    assert {row["job_id"] for row in await keyed.fetch("SELECT job_id FROM chunks")} == {stay[0], stay[1], stay[3]}
    assert await count(keyed, "jobs WHERE idempotency_key IS NOT NULL") == 1


async def test_ticks_and_attached_keys_go_by_their_age(keyed: Pool) -> None:
    await keyed.execute(
        """
        INSERT INTO ticks (dataset, source, due_at, fate, decided_at)
        SELECT 'items', 'crm', now() - days * interval '1 day', 'ran', now() - days * interval '1 day'
        FROM generate_series(1, 60) AS days
        """
    )
    await keyed.execute(
        """
        INSERT INTO attached (api_key, idempotency_key, fingerprint, job_id, attached_at)
        SELECT 'key', hours::text, '', gen_random_uuid(), now() - hours * interval '1 hour'
        FROM generate_series(1, 48) AS hours
        """
    )
    await task("gateway").run(keyed)
    assert (await count(keyed, "ticks"), await count(keyed, "attached")) == (29, 23)


async def test_a_run_continues_where_the_one_before_stopped(keyed: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FRUITLESS_STEPS", 1)
    (running,) = await insert_jobs(keyed, "running", 100)
    await keyed.execute(
        "INSERT INTO events (id, type, dataset, job_id, sequence, time, data)"
        " SELECT id, 'job.progress', 'items', $1, id, now() - interval '100 days', '{}'"
        " FROM generate_series(4, 4100) AS id",
        running,
    )
    await insert_jobs(keyed, "succeeded", 100)
    runs = task("gateway")
    left = []
    for _ in range(3):
        await runs.run(keyed)
        left.append(await count(keyed, "events"))
    assert left == [4103, 4103, 4100]


async def test_only_one_replica_deletes_at_a_time(keyed: Pool) -> None:
    await insert_jobs(keyed, "succeeded", 91)
    async with keyed.acquire() as db, db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1, hashtext('gateway'))", LOCK)
        await task("gateway").run(keyed)
        assert await count(keyed, "jobs") == 1
    await task("gateway").run(keyed)
    assert await count(keyed, "jobs") == 0


async def test_a_table_that_fails_does_not_block_the_others(keyed: Pool) -> None:
    async def fail(db: Connection, _days: int, _position: Position) -> Step:
        await db.execute("SELECT 1/0")
        raise AssertionError

    await insert_jobs(keyed, "succeeded", 91)
    declarations = (Retention("events", "", fail), Retention("jobs", "", rows_by_age("jobs", "finished_at")))
    await RetentionTask("gateway", declarations, GATEWAY).run(keyed)
    assert await count(keyed, "jobs") == 0


async def test_the_sizes_of_all_tables_and_deleted_rows_are_metrics(keyed: Pool) -> None:
    await insert_jobs(keyed, "succeeded", 91, 3)
    labels = {"table": "gateway.jobs"}
    before = REGISTRY.get_sample_value("millrace_retention_deleted_total", labels) or 0
    await task("gateway").run(keyed)
    assert REGISTRY.get_sample_value("millrace_retention_deleted_total", labels) == before + 3
    assert (REGISTRY.get_sample_value("millrace_table_bytes", labels) or 0) > 8192
    assert REGISTRY.get_sample_value("millrace_table_rows", {"table": "gateway.outbox"}) is not None


LINES = (
    "1,Chair,oak,1,,,,\n",
    "1,Chair,ash,2,,,,\n",
    "2,Table,oak,3,,,,\n",
    "1,Chair,ash,2,,,,\n",
    "x\n",
    "3,Bed,oak,1,,,,\n",
)


async def bring(ingestor: Ingestor, indexer: Indexer, analytics: Analytics) -> list[int]:
    """Returns the ledger numbers of chunks: replaced, replacing, new, unchanged, failed, new."""
    ledgers = []
    for text in LINES:
        (event,) = await ingestor.load_all(await ingestor.plan("items", text))
        await indexer.hear(event)
        await analytics.hear(event)
        ledgers.append(event.ledger)
    return ledgers


async def lines(ingestor: Ingestor) -> list[int]:
    return [row["ledger"] for row in await ingestor.pool.fetch("SELECT ledger FROM chunks ORDER BY 1")]


async def test_ledger_lines_go_that_nothing_refers_to(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, admin: asyncpg.Connection
) -> None:
    replaced, replacing, new, unchanged, failed, youngest = await bring(ingestor, indexer, analytics)
    abandoned = await ingestor.plan("items", "4,Sofa,oak,1,,,,\n")
    delete = next(found.delete for found in ingestor_retention.RETENTIONS if found.table == "chunks")
    assert await prune(ingestor.pool, delete, 90) == 0
    await admin.execute("UPDATE ingestor.chunks SET loaded_at = loaded_at - interval '91 days'")
    await admin.execute("UPDATE ingestor.chunks SET sent_at = sent_at - interval '91 days' WHERE ledger <> $1", failed)
    await admin.execute("DELETE FROM indexer.chunks WHERE ledger = $1", unchanged)
    # An image, a failed row and a missing mark keep their lines; rows of the table keep theirs.
    assert await prune(ingestor.pool, delete, 90) == 1
    assert await lines(ingestor) == [replaced, replacing, new, unchanged, failed, youngest]
    with pytest.raises(LookupError):
        await ingestor.load(abandoned[0])
    await admin.execute("INSERT INTO indexer.chunks (ledger, documents) VALUES ($1, 0)", unchanged)
    await admin.execute("DELETE FROM ingestor.replaced; DELETE FROM ingestor.failures")
    assert await prune(ingestor.pool, delete, 90) == 3
    assert await lines(ingestor) == [replacing, new, youngest]
    # The youngest line stays even without rows: watermarks are computed from it.
    await ingestor.pool.execute("DELETE FROM data.items")
    assert await prune(ingestor.pool, delete, 90) == 2
    assert await lines(ingestor) == [youngest]


async def test_search_and_rollups_are_right_after_everything_old_is_gone(
    ingestor: Ingestor, indexer: Indexer, analytics: Analytics, admin: asyncpg.Connection
) -> None:
    ledgers = await bring(ingestor, indexer, analytics)
    for table, column in (
        ("ingestor.chunks", "loaded_at"),
        ("ingestor.imports", "planned_at"),
        ("ingestor.failed_rows", "created_at"),
        ("ingestor.failures", "created_at"),
        ("indexer.chunks", "done_at"),
        ("analytics.chunks", "done_at"),
    ):
        await admin.execute(AGE.format(table, column, column))
    for _ in range(2):
        await task("ingestor").run(ingestor.pool)
        await task("indexer").run(indexer.pool)
        await task("analytics").run(analytics.pool)
    left = [ledgers[1], ledgers[2], ledgers[5]]
    assert await lines(ingestor) == left
    for table in ("indexer.chunks", "analytics.chunks"):
        assert [row["ledger"] for row in await admin.fetch(f"SELECT ledger FROM {table} ORDER BY 1")] == left
    for table in ("imports", "failed_rows", "failures", "replaced"):
        assert await count(ingestor.pool, table) == 0, table
    assert (await analytics.rebuild("items", "stock")).mended == 0
    assert await analytics.rollup("items") == await analytics.recomputed("items")
    await indexer.pool.execute("DELETE FROM indexes WHERE dataset = 'items'")
    await indexer.prepare("items")
    assert await indexer.documents("items") == await indexer.recomputed("items")
    for event in await ingestor.load_all(await ingestor.plan("items", "1,Chair,elm,9,,,,\n4,Bed,elm,9,,,,\n")):
        await indexer.hear(event)
        await analytics.hear(event)
    version = await ingestor.pool.fetchval("SELECT version FROM datasets WHERE name = 'items'")
    assert await indexer.pool.fetchval("SELECT indexed FROM freshness WHERE dataset = 'items'") == version
    assert await analytics.counted("items") == version
    assert await analytics.rollup("items") == await analytics.recomputed("items")
    assert await indexer.documents("items") == await indexer.recomputed("items")


async def test_an_import_stays_with_its_failed_rows(ingestor: Ingestor, admin: asyncpg.Connection) -> None:
    await ingestor.bring("items", "x\n")
    waiting = await ingestor.plan("items", "1,Chair,oak,1,,,,\n")
    await admin.execute(AGE.format("ingestor.imports", "planned_at", "planned_at"))
    await task("ingestor").run(ingestor.pool)
    assert await count(ingestor.pool, "imports") == 2
    await ingestor.load_all(waiting)
    await task("ingestor").run(ingestor.pool)
    assert await count(ingestor.pool, "imports") == 1
    await admin.execute(AGE.format("ingestor.failed_rows", "created_at", "created_at"))
    await task("ingestor").run(ingestor.pool)
    assert (await count(ingestor.pool, "failed_rows"), await count(ingestor.pool, "imports")) == (0, 0)


async def test_the_state_of_syncs_that_do_not_end_goes_after_a_week(ingestor: Ingestor) -> None:
    old, new = uuid4(), uuid4()
    for job, days in ((old, 8), (new, 6)):
        await ingestor.pool.execute(
            "INSERT INTO pulls (job_id, dataset, source, chunk, at, message_id, sent_at)"
            " VALUES ($1, 'items', 'crm', 1, '{}', $1, now() - $2 * interval '1 day')",
            job,
            days,
        )
        await ingestor.pool.execute("INSERT INTO seen SELECT $1, generate_series(1, 4500)::text", job)
    await task("ingestor").run(ingestor.pool)
    assert await ingestor.pool.fetchval("SELECT array_agg(job_id) FROM pulls") == [new]
    assert await ingestor.pool.fetchval("SELECT array_agg(DISTINCT job_id) FROM seen") == [new]


async def test_stages_of_replacements_that_do_not_end_go_after_a_week(ingestor: Ingestor) -> None:
    old = await ingestor.begin("departments", "1,Old\n", REPLACE)
    new = await ingestor.begin("departments", "1,New\n", REPLACE)
    async with ingestor.transaction() as db:
        await db.execute("CREATE TABLE replacing_00000000000000000000000000000000 (id integer)")  # of no job
        await db.execute(
            "UPDATE imports SET planned_at = planned_at - interval '8 days' WHERE job_id = $1", old[0].job_id
        )
    await task("ingestor").run(ingestor.pool)
    stages = await ingestor.pool.fetch("SELECT tablename FROM pg_tables WHERE tablename ~ '^replacing_'")
    assert [row["tablename"] for row in stages] == [f"{replace.STAGE}{new[0].job_id.hex}"]
    assert (await ingestor.follow(old)).loaded == []
    assert len((await ingestor.follow(new)).loaded) == 2


async def test_definitions_go_when_nobody_looks_them_up(indexer: Indexer) -> None:
    await indexer.pool.execute(
        """
        INSERT INTO definitions (dictionary, word, state, expires_at)
        SELECT dictionary, word, 'found', now() - word::int * interval '1 day'
        FROM unnest(ARRAY['http://here', 'http://away']) AS dictionary, unnest(ARRAY['29', '31']) AS word
        """
    )
    await indexer.pool.execute("INSERT INTO dictionaries VALUES ('http://away', 9, now(), '{}')")
    await task("indexer").run(indexer.pool)
    rows = await indexer.pool.fetch("SELECT dictionary, word FROM definitions ORDER BY 1, 2")
    assert [*map(tuple, rows)] == [("http://away", "29"), ("http://away", "31"), ("http://here", "29")]
