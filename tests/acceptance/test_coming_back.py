"""Coming back: servers and services start in any order, RabbitMQ may lose its disk, SIGTERM ends within ten seconds."""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from tests.stack import SERVICES, Stack, replica
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("faults")
SECONDS = 60
EXIT_SECONDS = 10
SERVERS = ("postgres", "rabbitmq")


async def millrace(stack: Stack, *arguments: str) -> None:
    done = await asyncio.to_thread(stack.millrace, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def wipe(stack: Stack) -> None:
    """All that RabbitMQ has stored, while it is down."""
    shutil.rmtree(stack.home / "rabbitmq" / "mnesia")


async def read_checks(url: str) -> dict[str, Any]:
    """Readiness of a service; empty while it does not answer."""
    async with httpx2.AsyncClient() as client:
        with contextlib.suppress(httpx2.HTTPError):
            body: dict[str, Any] = (await client.get(f"{url}/health/ready")).json()
            return body
    return {}


async def is_ready(url: str) -> bool:
    body = await read_checks(url)
    return body.get("status") == "ok" and body.get("bus", {}).get("broker", "ok") == "ok"


async def all_ready(urls: list[str]) -> None:
    for url in urls:
        await eventually(partial(is_ready, url), SECONDS)


async def insert(stack: Stack, *identifiers: int) -> str:
    """Accepts a batch of departments and returns its job."""
    rows = [{"id": number, "department": f"Department {number}"} for number in identifiers]
    answer = await stack.client.post("/v1/datasets/departments/rows", json={"rows": rows})
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job


async def succeeded(stack: Stack, job: str) -> None:
    async def ended() -> dict[str, Any]:
        with contextlib.suppress(httpx2.HTTPError):
            found: dict[str, Any] = (await stack.client.get(f"/v1/jobs/{job}")).json()
            return found if found.get("finished_at") else {}
        return {}

    found = await eventually(ended, SECONDS)
    assert found["status"] == "succeeded", found


@pytest.mark.timeout(300)
async def test_a_broker_that_lost_its_disk_gets_its_queues_back_and_waiting_jobs_end(stack: Stack) -> None:
    urls = [stack.env[f"{service.upper()}_URL"] for service in SERVICES]
    await all_ready(urls)
    pids = [stack.pid(service) for service in SERVICES]
    await millrace(stack, "down", "rabbitmq")
    job = await insert(stack, 900_001)
    wipe(stack)
    seen: set[str] = set()

    async def look() -> None:
        while True:
            seen.add((await read_checks(stack.env["INGESTOR_URL"])).get("checks", {}).get("broker", ""))
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    await millrace(stack, "up", "rabbitmq")
    await succeeded(stack, job)
    await all_ready(urls)
    looking.cancel()
    assert {"away", "ok"} <= seen
    assert any(state.startswith("no consumers: ingestor.") for state in seen), seen
    assert [stack.pid(service) for service in SERVICES] == pids
    await succeeded(stack, await insert(stack, 900_002))


@pytest.mark.timeout(300)
async def test_services_that_start_before_the_servers_wait_for_them(stack: Stack, tmp_path: Path) -> None:
    await millrace(stack, "down", *SERVICES, *SERVERS)
    wipe(stack)
    with contextlib.ExitStack() as started:
        try:
            logs = {name: tmp_path / f"{name}.log" for name in SERVICES}
            processes = [started.enter_context(replica(stack, name, log)) for name, log in logs.items()]

            async def all_logged(event: str) -> bool:
                return all(f'"{event}"' in log.read_text() for log in logs.values())

            await eventually(partial(all_logged, "waiting for postgres"), SECONDS)
            await millrace(stack, "up", "postgres")
            await eventually(partial(all_logged, "waiting for rabbitmq"), SECONDS)
            await millrace(stack, "up", "rabbitmq")
            await eventually(partial(all_logged, "consuming"), SECONDS)
            assert all(process.poll() is None for process in processes)
        finally:
            started.close()
            await millrace(stack, "up")
    await succeeded(stack, await insert(stack, 900_003))


@contextlib.asynccontextmanager
async def locked(stack: Stack, table: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Nobody else can read or write the table until the end of the block."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        async with db.transaction():
            await db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield db
    finally:
        await db.close()


async def terminate(stack: Stack, service: str) -> float:
    """SIGTERM; returns the seconds until the process was gone."""
    pid, began = stack.pid(service), time.monotonic()
    os.kill(pid, signal.SIGTERM)

    async def gone() -> bool:
        return not Path(f"/proc/{pid}").exists()

    await eventually(gone, 3 * EXIT_SECONDS)
    return time.monotonic() - began


async def test_a_chunk_that_takes_too_long_is_handed_back_on_sigterm_and_loaded_once(stack: Stack) -> None:
    async with locked(stack, "data.departments") as db:
        job = await insert(stack, 900_004)

        async def waits() -> bool:
            return bool(
                await db.fetchval(
                    "SELECT true FROM pg_stat_activity WHERE usename = 'ingestor' AND wait_event_type = 'Lock'"
                )
            )

        await eventually(waits, SECONDS)
        assert await terminate(stack, "ingestor") < EXIT_SECONDS
    await succeeded(stack, job)
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    assert await db.fetchval("SELECT count(*) FROM ingestor.chunks WHERE job_id = $1", job) == 1
    await db.close()
    await all_ready([stack.env["INGESTOR_URL"]])


async def test_an_upload_that_stalls_does_not_hold_up_sigterm(stack: Stack) -> None:
    address = urlsplit(stack.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST /v1/datasets/departments/imports HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000000\r\n"
        f"Authorization: Bearer {stack.key}\r\nContent-Type: text/csv\r\n\r\nid,department\n"
    )
    writer.write(head.encode())
    await writer.drain()

    async def is_received() -> bool:
        return any((stack.home / "spool").iterdir())

    await eventually(is_received, SECONDS)
    assert await terminate(stack, "gateway") < EXIT_SECONDS
    writer.close()
    await all_ready([stack.url])
