"""Jobs are canceled, retried and explained, on the running stack; books balance in between and afterwards."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.acceptance.import_files import count_documents, get, send
from tests.stack import Stack, empty
from tests.waiting import eventually

FIRST = 70_000_000
ROWS = 240_000
CANCELED_WITHIN = 2.0
SECONDS = 60.0


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    yield connection
    await connection.close()


@pytest.fixture
async def sandbox(stack: Stack) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=stack.env["SANDBOX_URL"]) as client:
        (await client.post("/reset")).raise_for_status()
        await empty(stack)
        yield client
        (await client.post("/reset")).raise_for_status()


@contextlib.asynccontextmanager
async def locked(admin: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """Nobody writes to the table meanwhile."""
    async with admin.transaction():
        await admin.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


def items(first: int, count: int) -> str:
    """Rows of some words, so that a file of ROWS has several chunks."""
    words = "a wooden thing that is long enough " * 4
    lines = (f"{first + number},Item {number},wood,1.50,{number % 7},{words}" for number in range(count))
    return "\n".join(["id,name,category,price,quantity,description", *lines])


async def submit(stack: Stack, content: str, **headers: str) -> dict[str, Any]:
    answer = await stack.client.post(
        "/v1/datasets/items/imports", content=content.encode(), headers={"Content-Type": "text/csv", **headers}
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def post(stack: Stack, job: dict[str, Any], verb: str, *, wait: int | None = None) -> httpx2.Response:
    headers = {"Prefer": f"wait={wait}"} if wait is not None else {}
    return await stack.client.post(f"/v1/jobs/{job['id']}/{verb}", headers=headers)


async def canceled(stack: Stack, job: dict[str, Any]) -> dict[str, Any]:
    """The canceled job, within the promised time."""
    began = time.monotonic()
    answer = await post(stack, job, "cancel")
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < CANCELED_WITHIN
    ended: dict[str, Any] = answer.json()
    assert ended["status"] == "canceled"
    assert ended["error"]["code"] == "canceled"
    outcome = ended["outcome"]
    counts = ("inserted", "updated", "unchanged", "duplicates", "failed", "checked")
    assert outcome["rows_read"] == sum(outcome[count] for count in counts)
    return ended


async def read(stack: Stack, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await get(stack, f"/v1/jobs/{job['id']}")
    return found


async def ended(stack: Stack, job: dict[str, Any]) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        found = await read(stack, job)
        return found if found["finished_at"] else {}

    return await eventually(look, SECONDS)


async def retried(stack: Stack, job: dict[str, Any]) -> dict[str, Any]:
    """The job at the end of its next run."""
    answer = await post(stack, job, "retry")
    assert answer.status_code in (200, 202), answer.text
    return await ended(stack, job)


async def why(stack: Stack, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await get(stack, f"/v1/jobs/{job['id']}/why")
    return found


async def types(admin: asyncpg.Connection, job: dict[str, Any]) -> list[str]:
    """The events of the job but for its progress; their sequence has no gap."""
    rows = await admin.fetch("SELECT type, sequence FROM gateway.events WHERE job_id = $1 ORDER BY sequence", job["id"])
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["type"] for row in rows if row["type"] != "job.progress"]


async def balances(admin: asyncpg.Connection, job: dict[str, Any]) -> None:
    """Table, documents and rollup have the rows of the outcome."""
    rows = job["outcome"]["inserted"] + job["outcome"]["updated"]
    where = f"_chunk IN (SELECT ledger FROM ingestor.chunks WHERE job_id = '{job['id']}')"
    assert await admin.fetchval(f"SELECT count(*) FROM data.items WHERE {where}") == rows
    table = await admin.fetchval("SELECT count(*) FROM data.items")

    async def derived() -> bool:
        documents = await count_documents(admin, "items")
        stock = await admin.fetchval("SELECT coalesce(sum(items), 0) FROM rollups.items__stock")
        return bool(documents == stock == table)

    assert await eventually(derived, SECONDS)


async def test_a_large_import_is_canceled_in_the_middle_and_retried(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    job = await submit(stack, items(FIRST, ROWS))
    await eventually(lambda: _has_loaded(admin, job), SECONDS)
    stopped = await canceled(stack, job)
    rows = stopped["outcome"]["inserted"]
    assert 0 < rows < ROWS
    assert stopped["error"]["detail"] == f"Canceled on request: {rows} rows were loaded and stay."
    await balances(admin, stopped)
    assert await types(admin, job) == ["job.created", "job.started", "job.canceled"]
    assert (await post(stack, job, "cancel")).json()["status"] == "canceled"
    again = await retried(stack, job)
    assert (again["status"], again["error"]) == ("succeeded", None)
    assert again["outcome"]["inserted"] == again["outcome"]["rows_read"] == ROWS
    await balances(admin, again)
    assert await types(admin, job) == [
        *("job.created", "job.started", "job.canceled"),
        *("job.retried", "job.succeeded"),
    ]
    assert (await post(stack, job, "retry")).json()["code"] == "nothing_to_retry"
    answer = await post(stack, job, "cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


async def test_a_queued_job_is_canceled_behind_a_full_queue(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    async with locked(admin, "data.items"):
        batches = [
            (
                await stack.client.post(
                    "/v1/datasets/items/rows", json={"rows": [{"id": FIRST + number, "name": "x", "price": 1}]}
                )
            ).json()
            for number in range(30)
        ]
        found = await why(stack, batches[-1])
        assert found["status"] == "queued"

        async def waits() -> bool:
            queues = (await why(stack, batches[-1]))["queues"]
            return bool(queues and queues[0]["ahead"] >= 20)

        await eventually(waits, SECONDS)
        assert "behind" in (await why(stack, batches[-1]))["summary"]
        stopped = await canceled(stack, batches[-1])
        assert stopped["error"]["detail"] == "Canceled on request: no row was loaded."
        await canceled(stack, batches[0])  # this one is being handled
    for batch in batches[1:-1]:
        assert (await ended(stack, batch))["status"] == "succeeded"
    assert await admin.fetchval("SELECT count(*) FROM data.items") == 28
    assert (await retried(stack, batches[-1]))["outcome"]["inserted"] == 1
    assert (await retried(stack, batches[0]))["outcome"]["inserted"] == 1
    assert await admin.fetchval("SELECT count(*) FROM data.items") == 30


async def test_a_replacement_is_canceled_and_retried(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    assert (await send(stack, "items", items(FIRST, 10))).json()["status"] == "succeeded"
    async with locked(admin, "data.items"):
        answer = await send(stack, "items", items(FIRST + 5, 1000), wait=0, mode="replace", max_shrink="1")
        job = answer.json()

        async def is_staged() -> bool:
            return bool((await read(stack, job))["outcome"]["checked"])

        await eventually(is_staged, SECONDS)
        stopped = await canceled(stack, job)
        assert stopped["error"]["detail"] == "Canceled on request: no row was replaced."
    assert await admin.fetchval("SELECT count(*) FROM data.items") == 10
    again = await retried(stack, job)
    assert again["status"] == "succeeded"
    assert {name: count for name, count in again["outcome"].items() if count} == {
        "rows_read": 1000,
        "inserted": 995,
        "updated": 5,
        "deleted": 5,
    }


async def test_a_sync_is_canceled_while_its_source_is_slow(
    stack: Stack, admin: asyncpg.Connection, sandbox: httpx2.AsyncClient
) -> None:
    (await sandbox.put("/faults", json={"path": "/items", "delay": 0.3, "times": 2})).raise_for_status()
    (await sandbox.put("/faults", json={"path": "/items", "delay": 20})).raise_for_status()
    job = (await stack.client.post("/v1/datasets/items/syncs")).json()
    await asyncio.wait_for(eventually(lambda: _is_sent(stack, job), SECONDS), SECONDS)
    await canceled(stack, job)
    (await sandbox.request("DELETE", "/faults")).raise_for_status()
    again = await retried(stack, job)
    assert (again["status"], again["error"]) == ("succeeded", None)
    await balances(admin, again)


async def _is_sent(stack: Stack, job: dict[str, Any]) -> bool:
    messages = (await why(stack, job))["messages"]["data"]
    return bool(messages and messages[0]["state"] == "sent")


async def test_a_rebuild_and_a_refresh_are_canceled(stack: Stack, admin: asyncpg.Connection) -> None:
    async with locked(admin, "rollups.items__stock"):
        await admin.execute("LOCK TABLE rollups.items__stock, data.items IN ACCESS EXCLUSIVE MODE")
        job = (await stack.client.post("/v1/datasets/items/rollups/stock/rebuilds")).json()
        await eventually(lambda: _is_sent(stack, job), SECONDS)
        stopped = await canceled(stack, job)
        assert stopped["error"]["detail"] == "Canceled on request."
        assert (await stack.client.post("/v1/datasets/items/rollups/stock/rebuilds")).json()["id"] != job["id"]
        busy = await post(stack, job, "retry")
        assert (busy.status_code, busy.json()["code"]) == (409, "target_busy")


async def test_a_reindex_is_canceled_and_retried(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    assert (await send(stack, "items", items(FIRST, 10))).json()["status"] == "succeeded"
    before = await get(stack, "/v1/datasets/items/index")
    async with admin.transaction():
        await admin.execute("LOCK TABLE data.items IN ACCESS EXCLUSIVE MODE")
        answer = await stack.client.post("/v1/datasets/items/reindexes")
        job = {"id": answer.headers["Millrace-Job"]}
        assert (answer.status_code, answer.headers["Location"]) == (202, "/v1/datasets/items/index")

        async def is_building() -> bool:
            building = (await get(stack, "/v1/datasets/items/index"))["building"]
            return bool(building and building["job"] == job["id"])

        await eventually(is_building, SECONDS)
        again = await stack.client.post("/v1/datasets/items/reindexes")
        assert (again.headers["Millrace-Job"], again.headers["Millrace-Attached"]) == (job["id"], "true")
        stopped = await canceled(stack, job)
        assert (stopped["kind"], stopped["generation"]) == ("reindex", None)
    assert (await get(stack, "/v1/datasets/items/index"))["generation"] == before["generation"]
    done = await retried(stack, job)
    after = await get(stack, "/v1/datasets/items/index")
    assert (done["status"], after["building"], after["generation"]) == ("succeeded", None, done["generation"])
    assert done["generation"] > before["generation"]
    assert await count_documents(admin, "items") == 10
    answer = await stack.client.post("/v1/datasets/items/reindexes", headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["generation"] > done["generation"]) == (200, True)
    assert stack.millrace("reindex", "items").returncode == 0


async def test_the_event_stream_goes_on_after_a_retry(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    async with locked(admin, "data.items"):
        job = await submit(stack, items(FIRST, 3))
        await canceled(stack, job)
    await retried(stack, job)
    text = (await stack.client.get(f"/v1/jobs/{job['id']}/events")).text
    seen = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert [name for name in seen if name in ("job.canceled", "job.retried", "job.succeeded", "end")] == [
        *("job.canceled", "job.retried"),
        *("job.succeeded", "end"),
    ]


async def test_a_job_fails_at_its_deadline_and_is_retried(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    async with locked(admin, "data.items"):
        job = await submit(stack, items(FIRST, 3), **{"Millrace-Deadline": "1"})
        failed = await ended(stack, job)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "deadline_exceeded")
    assert "retry" in (await why(stack, job))["next"]
    again = await retried(stack, job)
    assert (again["status"], again["outcome"]["inserted"]) == ("succeeded", 3)
    assert again["deadline_at"] > failed["deadline_at"]
    refused = await stack.client.post(
        "/v1/datasets/items/rows", json={"rows": [{}]}, headers={"Millrace-Deadline": "0"}
    )
    assert refused.status_code == 422


async def test_a_job_that_gave_up_loads_only_the_rest_once_the_cause_is_fixed(
    stack: Stack, admin: asyncpg.Connection
) -> None:
    await empty(stack)
    spool = Path(stack.env["SPOOL_URL"].removeprefix("file://"))
    loaded = "SELECT array_agg(ledger ORDER BY ledger) FROM ingestor.chunks WHERE job_id = $1 AND version IS NOT NULL"
    async with locked(admin, "data.items"):
        job = await submit(stack, items(FIRST, ROWS))

        async def is_read() -> bool:
            return bool(
                await admin.fetchval(
                    "SELECT count(*) >= 2 FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'"
                )
            )

        await eventually(is_read, SECONDS)
        (file,) = spool.glob(f"{job['id']}*")
        aside = file.rename(file.with_name("aside"))
    failed = await ended(stack, job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "file_missing")
    explained = await why(stack, job)
    assert explained["last_error"]["code"] == "file_missing"
    assert explained["next"].startswith("Fix the cause, then POST")

    async def all_have_ended() -> bool:
        return not (await why(stack, job))["messages"]["total"]

    await eventually(all_have_ended, SECONDS)
    before = await admin.fetchval(loaded, job["id"])
    assert before
    assert {letter["reason"] for letter in (await why(stack, job))["dead_letters"]["data"]} == {"failed"}
    aside.rename(file)
    again = await retried(stack, job)
    assert (again["status"], again["outcome"]["inserted"]) == ("succeeded", ROWS)
    assert set(before) < set(await admin.fetchval(loaded, job["id"]))
    assert await admin.fetchval("SELECT count(DISTINCT _chunk) FROM data.items") == len(
        await admin.fetchval(loaded, job["id"])
    )
    await balances(admin, again)


async def test_a_job_is_canceled_and_retried_around_a_kill_of_its_service(
    stack: Stack, admin: asyncpg.Connection
) -> None:
    await empty(stack)
    job = await submit(stack, items(FIRST, ROWS))
    await eventually(lambda: _has_loaded(admin, job), SECONDS)
    stack.kill("ingestor")
    answer = await post(stack, job, "cancel", wait=60)
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled"), answer.text
    await balances(admin, answer.json())
    assert (await post(stack, job, "retry")).status_code == 202
    await eventually(lambda: _has_loaded(admin, job, more_than=answer.json()["outcome"]["rows_read"]), SECONDS)
    stack.kill("ingestor")
    again = await ended(stack, job)
    assert (again["status"], again["outcome"]["inserted"]) == ("succeeded", ROWS)
    await balances(admin, again)


async def _has_loaded(admin: asyncpg.Connection, job: dict[str, Any], *, more_than: int = 0) -> bool:
    rows = await admin.fetchval("SELECT coalesce(sum(rows_read), 0) FROM ingestor.chunks WHERE job_id = $1", job["id"])
    return bool(rows > more_than)


async def test_the_command_line_cancels_retries_and_explains(stack: Stack, admin: asyncpg.Connection) -> None:
    await empty(stack)
    async with locked(admin, "data.items"):
        job = await submit(stack, items(FIRST, 3))
        explained = stack.millrace("why", job["id"])
        assert (explained.returncode, "Next: " in explained.stdout) == (0, True), explained.stderr
        done = stack.millrace("cancel", job["id"])
        assert (done.returncode, "canceled after" in done.stdout) == (0, True), done.stdout + done.stderr
        assert "canceled" in stack.millrace("why", job["id"]).stdout
    again = stack.millrace("retry", job["id"])
    assert (again.returncode, "succeeded after" in again.stdout) == (0, True), again.stdout + again.stderr
    assert stack.millrace("cancel", job["id"]).returncode == 1
