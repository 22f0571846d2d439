"""RabbitMQ loses its disk twice while everything is under way: all jobs end, and what is derived equals the rows."""

import asyncio
import contextlib
import datetime as dt
import shutil
from typing import Any

import asyncpg
import httpx2
import polars as pl
import pytest

from tests.acceptance.import_files import count_documents
from tests.stack import SERVICES, Stack, empty
from tests.waiting import eventually

ROWS = 250_000
ENDS_WITHIN = 240


def items() -> bytes:
    number = pl.int_range(1, ROWS + 1, eager=True)
    return (
        pl.DataFrame({"id": number})
        .select(
            pl.col("id"),
            pl.format("Item {}", pl.col("id") % 1000).alias("name"),
            pl.format("Category {}", pl.col("id") % 7).alias("category"),
            pl.lit("1.50").alias("price"),
            (pl.col("id") % 5).alias("quantity"),
            pl.format("Wiped {}", pl.lit("once or twice " * 10)).alias("description"),
        )
        .write_csv()
        .encode()
    )


async def wipe(stack: Stack) -> None:
    """RabbitMQ stops, has nothing, and starts."""
    down = await asyncio.to_thread(stack.millrace, "down", "rabbitmq")
    assert down.returncode == 0, down.stdout + down.stderr
    shutil.rmtree(stack.home / "rabbitmq" / "mnesia")
    up = await asyncio.to_thread(stack.millrace, "up", "rabbitmq")
    assert up.returncode == 0, up.stdout + up.stderr


async def submit(stack: Stack, path: str, content: Any = None, **parameters: str) -> str:
    """The path of an accepted job."""
    if isinstance(content, bytes):
        headers = {"Content-Type": "text/csv"}
        answer = await stack.client.post(path, content=content, params=parameters, headers=headers)
    else:
        answer = await stack.client.post(path, json=content, params=parameters, headers={"Prefer": "wait=1"})
    assert answer.status_code in (200, 202), answer.text
    return str(answer.headers["Location"])


async def read(stack: Stack, job: str) -> dict[str, Any]:
    with contextlib.suppress(httpx2.HTTPError):
        answer = await stack.client.get(job)
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
    return {}


async def send_batches(stack: Stack, jobs: list[str], enough: asyncio.Event) -> None:
    """Small jobs, one after the other."""
    while not enough.is_set():
        rows = [{"customer_id": f"wiped-{len(jobs)}", "first_name": "Ada", "last_name": "B", "email": "a@example.org"}]
        jobs.append(await submit(stack, "/v1/datasets/customers/rows", {"rows": rows}))


@pytest.mark.usefixtures("faults")
@pytest.mark.timeout(600)
async def test_everything_ends_though_the_broker_loses_its_disk_twice(stack: Stack) -> None:
    await empty(stack)
    began = dt.datetime.now(dt.UTC)
    async with httpx2.AsyncClient(base_url=stack.env["SANDBOX_URL"]) as sandbox:
        (await sandbox.post("/reset")).raise_for_status()
        (await sandbox.put("/faults", json={"path": "/contacts", "delay": 1.0})).raise_for_status()
    pids = [stack.pid(service) for service in SERVICES]
    load = await submit(stack, "/v1/datasets/items/imports", items())
    jobs = {
        "load": load,
        "sync": await submit(stack, "/v1/datasets/contacts/syncs"),
        "refresh": await submit(stack, "/v1/reports/contacts_by_domain/refreshes"),
        "search": await submit(stack, "/v1/searches", {"dataset": "items", "q": "item"}),
    }
    batches: list[str] = []
    enough = asyncio.Event()
    sending = asyncio.create_task(send_batches(stack, batches, enough))

    async def has_loaded(percent: float) -> bool:
        found = await read(stack, load)
        return bool(found) and found["progress"]["percent"] >= percent

    try:
        for percent in (10, 40):
            await eventually(lambda percent=percent: has_loaded(percent), ENDS_WITHIN)  # type: ignore[misc]
            jobs[f"search at {percent}"] = await submit(stack, "/v1/searches", {"dataset": "items", "q": "item"})
            jobs[f"refresh at {percent}"] = await submit(stack, "/v1/reports/balance_by_join_month/refreshes")
            await wipe(stack)
    finally:
        enough.set()
        await sending
    jobs |= {f"batch {number}": job for number, job in enumerate(batches)}

    async def all_ended() -> bool:
        return all([(await read(stack, job)).get("finished_at") for job in jobs.values()])

    await eventually(all_ended, ENDS_WITHIN)
    ended = {name: await read(stack, job) for name, job in jobs.items()}
    assert {name: (job["status"], job["error"]) for name, job in ended.items()} == dict.fromkeys(
        jobs, ("succeeded", None)
    )
    assert ended["load"]["outcome"]["inserted"] == ROWS
    await look_into_the_database(stack, len(batches), began)
    assert [stack.pid(service) for service in SERVICES] == pids
    async with httpx2.AsyncClient(base_url=stack.env["SANDBOX_URL"]) as sandbox:
        (await sandbox.post("/reset")).raise_for_status()


async def look_into_the_database(stack: Stack, batches: int, began: dt.datetime) -> None:
    """Rows, documents and rollups say the same, and nothing was given up since the test began."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        assert await db.fetchval("SELECT count(*) FROM data.customers") == batches
        for dataset in ("items", "contacts", "customers"):
            searched = await db.fetchval(
                "SELECT count(*) FROM indexer.indexes WHERE dataset = $1 AND state = 'serving'", dataset
            )
            if searched:
                rows = await db.fetchval(f"SELECT count(*) FROM data.{dataset}")
                assert await count_documents(db, dataset) == rows, dataset
        assert await db.fetch(
            "SELECT category, items, quantity FROM rollups.items__stock WHERE items > 0 ORDER BY 1"
        ) == await db.fetch("SELECT category, count(*), sum(quantity)::bigint FROM data.items GROUP BY 1 ORDER BY 1")
        assert await db.fetchval("SELECT sum(contacts) FROM rollups.contacts__domains") == await db.fetchval(
            "SELECT count(*) FROM data.contacts"
        )
        assert await db.fetchval("SELECT sum(customers) FROM rollups.customers__joined") == batches
        for service in SERVICES:
            assert await db.fetchval(f"SELECT count(*) FROM {service}.dead_letters WHERE died_at > $1", began) == 0
    finally:
        await db.close()
