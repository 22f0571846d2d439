"""Without faults every message ends at the first attempt: nothing is sent again, given up or left open."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
import httpx2
import pytest

from shared.bus import ledger, outbox
from shared.bus.topology import DEAD
from shared.contracts.dead_letter_events import RedriveRequested
from shared.db import transaction
from tests.integration.ingestor_runner import connected
from tests.stack import SERVICES, Stack, read_metric, read_resent
from tests.waiting import eventually

FIRST, ROWS = 50_000_000, 20_000
SECONDS = 60.0


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


JOBS: tuple[Callable[[Stack, str], Awaitable[dict[str, Any]]], ...] = (
    import_rows,
    replace_rows,
    send_rows,
    search_rows,
)


def ended_well(answer: httpx2.Response, rows: int) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert (job["status"], job["outcome"]["rows_read"]) == ("succeeded", rows)
    return job


async def count_outbox(stack: Stack) -> int:
    """Messages of all services that have not ended."""
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        return sum([await admin.fetchval(f"SELECT count(*) FROM {service}.outbox") for service in SERVICES])
    finally:
        await admin.close()


async def read_attempts(stack: Stack, job_ids: list[str], table: str = "attempts") -> list[tuple[str, str | None]]:
    """Attempts of all services at messages of these jobs, or dead letters: names and problems."""
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        return [
            (f"{service}: {row['name']}", row["problem"])
            for service in SERVICES
            for row in await admin.fetch(
                f"SELECT name, problem FROM {service}.{table} WHERE job_id = ANY($1::uuid[])", job_ids
            )
        ]
    finally:
        await admin.close()


async def undecodable(stack: Stack) -> int:
    """Messages in the broker's queue of those that nobody can decode."""
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
        return (await channel.declare_queue(DEAD, passive=True)).declaration_result.message_count or 0


async def test_without_a_fault_each_message_ends_at_the_first_attempt_and_leaves_its_outbox(stack: Stack) -> None:
    resent = await read_resent(stack.env)
    unroutable = [await read_metric(stack.env, service, "millrace_unroutable_total") for service in SERVICES]
    dead = await undecodable(stack)
    jobs = [(await bring(stack, "Ada"))["id"] for bring in JOBS]

    async def all_have_ended() -> bool:
        return await count_outbox(stack) == 0

    await eventually(all_have_ended, SECONDS)
    assert await read_attempts(stack, jobs) == []
    assert await read_attempts(stack, jobs, "dead_letters") == []
    assert await undecodable(stack) == dead
    assert await read_resent(stack.env) == resent
    assert [await read_metric(stack.env, service, "millrace_unroutable_total") for service in SERVICES] == unroutable


@pytest.mark.parametrize("service", SERVICES)
async def test_recovery_does_look_into_the_outboxes_of_all_services(stack: Stack, service: str) -> None:
    """What was sent to the service a minute ago, and is not in its inbox, is open, whoever has sent it."""
    async with connected(stack.env[f"{service.upper()}_DATABASE_URL"], "tests", 1) as pool, pool.acquire() as db:
        lines = await db.fetch(f"EXPLAIN SELECT FROM {ledger.outboxes(service)} o WHERE o.name = 'chunk.loaded'")
        assert len(re.findall(r" on outbox\b", "\n".join(line[0] for line in lines))) == len(SERVICES)
        queues = [("chunk.loaded", "small"), ("load_chunk", "")]
        assert await ledger.select_waiting(db, service, queues, seconds=60) == []


async def test_an_event_for_all_services_ends_in_each_of_them(stack: Stack) -> None:
    event = RedriveRequested(dataset="", request_id=uuid4(), ids=())
    async with connected(stack.env["GATEWAY_DATABASE_URL"], "tests", 1) as pool, transaction(pool) as db:
        await outbox.insert_messages(db, [event])
    async with connected(stack.env["GATEWAY_DATABASE_URL"], "tests", 1) as pool, pool.acquire() as db:

        async def ended() -> bool:
            return all([await ledger.has_ended(db, service, event.id) for service in SERVICES])

        await eventually(ended, SECONDS)


async def test_every_row_is_accounted_for_in_the_metrics(stack: Stack) -> None:
    names = {"ingestor": "millrace_rows_total", "indexer": "millrace_documents_total"}
    before = {service: await read_metric(stack.env, service, name) for service, name in names.items()}
    violations = await read_metric(stack.env, "gateway", "millrace_accounting_violations_total")
    await import_rows(stack, "Cy")
    for service, name in names.items():
        assert await read_metric(stack.env, service, name) == before[service] + ROWS
    assert await read_metric(stack.env, "gateway", "millrace_accounting_violations_total") == violations == 0
