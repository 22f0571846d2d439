"""Where nothing fails, nothing is repaired: a sweeper that has work to do without a fault hides a bug."""

import re
from typing import Any

import aio_pika
import asyncpg
import httpx
import pytest

from services.analytics import queries as analytics
from services.gateway import unfinished
from services.indexer import queries as indexer
from services.ingestor import queries as ingestor
from shared.bus.topology import DEAD
from shared.contracts.message import Message
from shared.db import Connection, connect
from tests.stack import SERVICES, Stack
from tests.waiting import eventually

ROWS = 60_000
SECONDS = 30.0


async def import_rows(stack: Stack, name: str) -> dict[str, Any]:
    """A job that has ended well."""
    days = ("2020-03-01", "2021-07-01", "2021-11-07")
    lines = (
        f"{number},{name} {number},{days[number % 3]}T00:00:00Z,{number % 7},{number % 5}" for number in range(1, ROWS)
    )
    answer = await stack.client.post(
        "/v1/datasets/hired_employees/imports",
        content="\n".join(lines).encode(),
        headers={"Content-Type": "text/csv", "Prefer": "wait=60"},
    )
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert (job["status"], job["outcome"]["rows_read"]) == ("succeeded", ROWS - 1)
    return job


async def metrics(stack: Stack, service: str, name: str) -> float:
    """The sum over all labels; 0 where there is none yet."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(stack.env[f"{service.upper()}_URL"] + "/metrics")).text
    assert "millrace_" in text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


async def outboxes(stack: Stack) -> int:
    """Letters that wait in all of them."""
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        return sum([await admin.fetchval(f"SELECT count(*) FROM {service}.outbox") for service in SERVICES])
    finally:
        await admin.close()


async def found_by_sweepers(stack: Stack, job: dict[str, Any], *, without: str = "") -> list[Message]:
    """What they would send again of the job if they had no patience at all; `without` is a table that lacks its rows."""
    found: list[Message] = []
    for service in SERVICES:
        pool = await connect(stack.env[f"{service.upper()}_DATABASE_URL"], name="tests", connections=1)
        async with pool, pool.acquire() as db:
            transaction = db.transaction()
            await transaction.start()
            if without.startswith(f"{service}."):
                await db.execute(f"DELETE FROM {without}")
            found += await sweep(service, db)
            await transaction.rollback()
    return [message for message in found if str(getattr(message, "job_id", "")) == job["id"]]


async def sweep(service: str, db: Connection) -> list[Message]:
    match service:
        case "gateway":
            unplanned = await unfinished.select_unplanned(db, seconds=0, limit=1000)
            return [*unplanned, *await unfinished.select_unheard(db, seconds=0, limit=1000)]
        case "ingestor":
            return [*await ingestor.claim_overdue(db, seconds=0, limit=1000)]
        case "indexer":
            return [*await indexer.select_unindexed(db, seconds=0, limit=1000)]
    return [*await analytics.select_uncounted(db, seconds=0, limit=1000)]


async def test_nothing_is_sent_again_without_a_fault(stack: Stack) -> None:
    before = {service: await metrics(stack, service, "millrace_resent_total") for service in SERVICES}
    unroutable = {service: await metrics(stack, service, "millrace_unroutable_total") for service in SERVICES}
    dead = await dead_letters(stack)
    job = await import_rows(stack, "Ada")

    async def all_is_said() -> bool:
        return await outboxes(stack) == 0

    await eventually(all_is_said, SECONDS)
    assert await found_by_sweepers(stack, job) == []
    for service in SERVICES:
        assert await metrics(stack, service, "millrace_resent_total") == before[service], service
        assert await metrics(stack, service, "millrace_unroutable_total") == unroutable[service], service
    assert await dead_letters(stack) == dead


@pytest.mark.parametrize(("lost", "service"), [("indexer.chunks", "indexer"), ("analytics.chunks", "analytics")])
async def test_the_sweepers_do_find_what_is_lost(stack: Stack, lost: str, service: str) -> None:
    job = await import_rows(stack, f"Bo {service}")
    assert [message.name() for message in await found_by_sweepers(stack, job, without=lost)] == ["chunk.loaded"]


async def test_every_row_is_accounted_for_in_the_metrics(stack: Stack) -> None:
    names = {"ingestor": "millrace_rows_total", "indexer": "millrace_documents_total"}
    before = {service: await metrics(stack, service, name) for service, name in names.items()}
    violations = await metrics(stack, "gateway", "millrace_accounting_violations_total")
    await import_rows(stack, "Cy")
    for service, name in names.items():
        assert await metrics(stack, service, name) == before[service] + ROWS - 1
    assert await metrics(stack, "gateway", "millrace_accounting_violations_total") == violations == 0


async def dead_letters(stack: Stack) -> int:
    """In the queue of those that nobody could handle."""
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
        return (await channel.declare_queue(DEAD, passive=True)).declaration_result.message_count or 0
