"""A gateway that is paused in the middle of its work holds no other gateway up."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import httpx2
import pytest

from tests.stack import Stack, replica
from tests.waiting import eventually

ROUNDS, CLIENTS, SECONDS = 4, 16, 30.0
ANSWERED_WITHIN = 5.0


def url(pid: int) -> str:
    """Where the process serves HTTP."""
    variables = dict(
        variable.split("=", 1) for variable in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in variable
    )
    return f"http://127.0.0.1:{variables['HTTP_PORT']}"


async def post(client: httpx2.AsyncClient, number: int) -> int:
    row = {"customer_id": f"paused-{number}", "first_name": "Ada", "last_name": "Byron", "email": "a@example.org"}
    return (await client.post("/v1/datasets/customers/rows", json={"rows": [row]})).status_code


async def keep_posting(client: httpx2.AsyncClient, number: int) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        while True:
            await post(client, number)


@pytest.mark.usefixtures("faults")
@pytest.mark.timeout(300)
async def test_others_accept_while_a_gateway_is_paused(stack: Stack, tmp_path: Path) -> None:
    with replica(stack, "gateway", tmp_path / "gateway.log") as process:
        headers = {"Authorization": f"Bearer {stack.key}"}
        async with httpx2.AsyncClient(base_url=url(process.pid), headers=headers, timeout=60) as client:

            async def is_ready() -> bool:
                with contextlib.suppress(httpx2.HTTPError):
                    return (await client.get("/health/ready")).status_code == 200
                return False

            await eventually(is_ready, SECONDS)
            for _ in range(ROUNDS):
                busy = [asyncio.create_task(keep_posting(client, number)) for number in range(CLIENTS)]

                async def accepts() -> bool:
                    return await post(stack.client, 0) == 202

                await eventually(accepts, SECONDS)
                os.kill(process.pid, signal.SIGSTOP)
                try:
                    began = time.monotonic()
                    assert await post(stack.client, 1) == 202
                    assert time.monotonic() - began < ANSWERED_WITHIN
                finally:
                    os.kill(process.pid, signal.SIGCONT)
                    for task in busy:
                        task.cancel()
                    await asyncio.gather(*busy, return_exceptions=True)
