"""Two gateway processes on one port."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from tests.acceptance.test_connections import connections
from tests.stack import ROOT, Stack, free_port
from tests.waiting import eventually

WORKERS = 2
REQUESTS = 60
SECONDS = 40.0
LISTENING, OPEN = "0A", "01"
ROWS = "/v1/datasets/departments/rows"
COUNT = re.compile(
    r'^millrace_http_request_seconds_count\{method="POST",route="/v1/datasets/\{dataset\}/rows".*\} (\S+)$',
    re.MULTILINE,
)


class Gateway:
    """A gateway with two workers beside the one of the stack, on the same database and broker."""

    def __init__(self, process: Process, port: int, key: str) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": f"Bearer {key}"}

    def workers(self) -> set[int]:
        """Process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    async def post(self, number: int) -> dict[str, Any]:
        """Loads a row on a connection of its own and waits for the end."""
        row = {"id": 980_000 + number, "department": "Workers"}
        async with httpx2.AsyncClient(base_url=self.url, headers=self.headers, timeout=SECONDS) as client:
            answer = await client.post(ROWS, json={"rows": [row]}, headers={"Prefer": "wait=30"})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def posts(self) -> float:
        """Requests that the metrics count, whichever worker answers."""
        async with httpx2.AsyncClient(base_url=self.url) as client:
            return sum(map(float, COUNT.findall((await client.get("/metrics")).text)))


@contextlib.asynccontextmanager
async def two_workers(stack: Stack, log: Path) -> AsyncIterator[Gateway]:
    port = free_port()
    settings = {
        "DATABASE_URL": stack.env["GATEWAY_DATABASE_URL"],
        "BROKER_URL": stack.env["BROKER_URL"],
        "SPOOL_URL": stack.env["SPOOL_URL"],
        "CATALOG_DIR": str(ROOT / "catalog"),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "GATEWAY_WORKERS": str(WORKERS),
    }
    with log.open("wb") as out:
        command = [sys.executable, "-m", "services.gateway"]
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **settings}, cwd=ROOT, stdout=out, stderr=out
        )
    gateway = Gateway(process, port, stack.key)

    async def both_listen() -> bool:
        return len(having(port, LISTENING) & gateway.workers()) == WORKERS

    try:
        await eventually(both_listen, SECONDS)
        yield gateway
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), SECONDS)


def having(port: int, state: str) -> set[int]:
    """Processes with a socket of this port in this state."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == state}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(file.readlink()) in sockets for file in (folder / "fd").iterdir()):
                found.add(int(folder.name))
    return found


async def test_two_workers_share_the_requests_and_survive_each_other(stack: Stack, tmp_path: Path) -> None:
    async with two_workers(stack, tmp_path / "gateway.log") as gateway:
        first = await asyncio.gather(*(gateway.post(number) for number in range(REQUESTS)))
        assert {job["status"] for job in first} == {"succeeded"}
        assert await gateway.posts() == REQUESTS
        async with connections(gateway.url, REQUESTS):

            async def both_have_some() -> bool:
                return having(gateway.port, OPEN) >= gateway.workers()

            await eventually(both_have_some, SECONDS)
        before = gateway.workers()
        victim = min(before)
        os.kill(victim, signal.SIGKILL)

        async def is_gone() -> bool:
            return victim not in gateway.workers()

        await eventually(is_gone, SECONDS)
        second = await asyncio.gather(*(gateway.post(number) for number in range(REQUESTS)))
        assert {job["status"] for job in second} == {"succeeded"}
        assert await gateway.posts() == 2 * REQUESTS  # what the dead worker counted is not lost

        async def is_back() -> bool:
            workers = gateway.workers()
            return len(workers) == WORKERS and workers != before

        await eventually(is_back, SECONDS)
        pids = gateway.workers()
    assert gateway.process.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_workers_end_with_their_parent(stack: Stack, tmp_path: Path) -> None:
    async with two_workers(stack, tmp_path / "gateway.log") as gateway:
        pids = gateway.workers()
        gateway.process.kill()

        async def are_gone() -> bool:
            return not any(Path(f"/proc/{pid}").exists() for pid in pids)

        await eventually(are_gone, SECONDS)
