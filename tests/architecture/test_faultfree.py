"""Without faults the sweepers find nothing to do; work for a sweeper would hide a bug."""

import re
from typing import Any

import aio_pika
import asyncpg
import httpx2
import pytest

from services.gateway.jobs import follow
from services.ingestor import chunk_ledger
from shared.bus.topology import DEAD
from shared.contracts.message import Message
from shared.db import Connection
from shared.reads.ingestor.chunks import select_unprocessed
from tests.integration.ingestor_runner import connected
from tests.stack import SERVICES, Stack
from tests.waiting import eventually

FIRST, ROWS = 50_000_000, 20_000
LIMIT = 10_000
SECONDS = 30.0


async def import_rows(stack: Stack, name: str) -> dict[str, Any]:
    """A job that has ended well; its rows are of years that no other test has."""
    days = ("1990-03-01", "1991-07-01", "1991-11-07")
    lines = (
        f"{FIRST + number},{name} {number},{days[number % 3]}T00:00:00Z,{number % 7},{number % 5}"
        for number in range(ROWS)
    )
    answer = await stack.client.post(
        "/v1/datasets/hired_employees/imports",
        content="\n".join(lines).encode(),
        headers={"Content-Type": "text/csv", "Prefer": "wait=60"},
    )
    return ended_well(answer, ROWS)


async def replace_rows(stack: Stack, name: str) -> dict[str, Any]:
    """A job that has put other items in the place of all."""
    answer = await stack.client.post(
        "/v1/datasets/items/imports",
        content="\n".join(["id,name,price", *(f"{number},{name} {number},1.00" for number in range(ROWS))]).encode(),
        params={"mode": "replace", "max_shrink": 1},
        headers={"Content-Type": "text/csv", "Prefer": "wait=60"},
    )
    return ended_well(answer, ROWS)


async def send_rows(stack: Stack, name: str) -> dict[str, Any]:
    """A batch that was loaded."""
    rows = [{"id": FIRST + number, "name": f"{name} {number}", "price": 1} for number in range(100)]
    answer = await stack.client.post("/v1/datasets/items/rows", json={"rows": rows}, headers={"Prefer": "wait=60"})
    return ended_well(answer, len(rows))


async def search_rows(stack: Stack, name: str) -> dict[str, Any]:
    """A search whose answer is kept."""
    body = {"dataset": "items", "q": name}
    return ended_well(await stack.client.post("/v1/searches", json=body, headers={"Prefer": "wait=60"}), 0)


def ended_well(answer: httpx2.Response, rows: int) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert (job["status"], job["outcome"]["rows_read"]) == ("succeeded", rows)
    return job


async def metrics(stack: Stack, service: str, name: str) -> float:
    """The sum over all labels; 0 where there is none yet."""
    async with httpx2.AsyncClient() as client:
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


async def found_by_sweepers(stack: Stack, job: dict[str, Any], *, lost: dict[str, str] | None = None) -> list[str]:
    """What they would send again of the job if they had no patience; `lost` is done to a service's tables before."""
    found: list[Message] = []
    for service in SERVICES:
        async with (
            connected(stack.env[f"{service.upper()}_DATABASE_URL"], "tests", 1) as pool,
            pool.acquire() as db,
        ):
            transaction = db.transaction()
            await transaction.start()
            await db.execute((lost or {}).get(service, "SELECT 1"))
            found += await sweep(service, db)
            await transaction.rollback()
    return sorted(message.name() for message in found if str(getattr(message, "job_id", "")) == job["id"])


async def sweep(service: str, db: Connection) -> list[Message]:
    match service:
        case "gateway":
            return await follow.find_lost(db, seconds=0)
        case "ingestor":
            return [*await chunk_ledger.claim_overdue(db, seconds=0, limit=LIMIT)]
    return [*await select_unprocessed(db, seconds=0, limit=LIMIT)]


async def test_nothing_is_sent_again_without_a_fault(stack: Stack) -> None:
    before = {service: await metrics(stack, service, "millrace_resent_total") for service in SERVICES}
    unroutable = {service: await metrics(stack, service, "millrace_unroutable_total") for service in SERVICES}
    dead = await dead_letters(stack)
    jobs = [await bring(stack, "Ada") for bring in (import_rows, replace_rows, send_rows, search_rows)]

    async def all_is_said() -> bool:
        return await outboxes(stack) == 0

    await eventually(all_is_said, SECONDS)
    assert [await found_by_sweepers(stack, job) for job in jobs] == [[], [], [], []]
    for service in SERVICES:
        assert await metrics(stack, service, "millrace_resent_total") == before[service], service
        assert await metrics(stack, service, "millrace_unroutable_total") == unroutable[service], service
    assert await dead_letters(stack) == dead


LAST = "WHERE id = (SELECT id FROM jobs ORDER BY created_at DESC LIMIT 1)"
LOST = {
    "a document": ({"indexer": "DELETE FROM chunks"}, ["chunk.loaded"]),
    "a count": ({"analytics": "DELETE FROM chunks"}, ["chunk.loaded"]),
    "a load": ({"ingestor": "DELETE FROM inbox; UPDATE chunks SET loaded_at = NULL"}, ["load_chunk"]),
    "an event": (
        {"gateway": f"UPDATE jobs SET status = 'running', finished_at = NULL {LAST}; DELETE FROM chunks"},
        ["chunk.counted", "chunk.indexed", "chunk.loaded"],
    ),
    "a plan": (
        {"gateway": f"UPDATE jobs SET status = 'running', finished_at = NULL, chunks = NULL {LAST}"},
        ["import.planned"],
    ),
}
SWAPS = "DELETE FROM inbox; UPDATE chunks SET loaded_at = NULL WHERE start_byte = end_byte"


@pytest.mark.parametrize("what", LOST)
async def test_the_sweepers_do_find_what_is_lost(stack: Stack, what: str) -> None:
    lost, expected = LOST[what]
    job = await import_rows(stack, f"Bo without {what}")
    assert await found_by_sweepers(stack, job) == []
    assert await found_by_sweepers(stack, job, lost=lost) == expected


async def test_the_sweepers_do_find_a_swap_that_is_lost(stack: Stack) -> None:
    job = await replace_rows(stack, "Di")
    assert await found_by_sweepers(stack, job) == []
    assert await found_by_sweepers(stack, job, lost={"ingestor": SWAPS}) == ["swap_stage"]


@pytest.mark.parametrize(
    ("kept", "expected"), [("DELETE FROM searches", ["run_search"]), ("SELECT 1", ["search.completed"])]
)
async def test_the_sweepers_do_find_a_search_that_is_lost(stack: Stack, kept: str, expected: list[str]) -> None:
    job = await search_rows(stack, "Ed")
    assert await found_by_sweepers(stack, job) == []
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        await admin.execute(kept.replace("searches", "indexer.searches"))
        await admin.execute(
            "UPDATE gateway.jobs SET status = 'queued', finished_at = NULL, created_at = created_at - interval '1 day'"
            " WHERE id = $1",
            job["id"],
        )
        assert await found_by_sweepers(stack, job) == expected
    finally:
        await admin.execute(
            "UPDATE gateway.jobs SET status = 'succeeded', finished_at = now() WHERE id = $1", job["id"]
        )
        await admin.close()


async def test_every_row_is_accounted_for_in_the_metrics(stack: Stack) -> None:
    names = {"ingestor": "millrace_rows_total", "indexer": "millrace_documents_total"}
    before = {service: await metrics(stack, service, name) for service, name in names.items()}
    violations = await metrics(stack, "gateway", "millrace_accounting_violations_total")
    await import_rows(stack, "Cy")
    for service, name in names.items():
        assert await metrics(stack, service, name) == before[service] + ROWS
    assert await metrics(stack, "gateway", "millrace_accounting_violations_total") == violations == 0


async def dead_letters(stack: Stack) -> int:
    """In the queue of those that nobody could handle."""
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
        return (await channel.declare_queue(DEAD, passive=True)).declaration_result.message_count or 0
