"""A thousand clients that each post a batch of ten rows every two seconds and wait for its end.

WAITING_SECONDS shortens the run of ten minutes.
"""

import asyncio
import os
from contextlib import aclosing
from itertools import count

import msgspec
import uvloop

from bench import jobs, memory, psql
from bench.connections import Connections
from bench.results import Row, at_most
from bench.stack import Stack
from bench.timing import p95 as percentile_95
from bench.timing import spread

CLIENTS, ROWS, PAUSE_SECONDS = 1000, 10, 2.0
SECONDS = float(os.environ.get("WAITING_SECONDS", "600"))
WARM_SHARE = 0.1
"""Part of the run after which memory is read for the first time: pools and caches are full then."""
LIMIT = 1000
GROWTH = 1.2
"""By how much a process may have grown at the end: its caches and the allocator's slack."""
PARTS = ("gateway", "ingestor", "indexer", "analytics")
DATASET = "bench_waiting"
PATH = f"/v1/datasets/{DATASET}/rows"
PREFER = "wait=30"
ROW = '{"id":%d,"name":"Ada Almeida","hired_at":"2021-05-04T03:02:01Z","department_id":3,"job_id":7}'


class Outcome(msgspec.Struct):
    """Milliseconds of the batches that succeeded, and why the others did not."""

    milliseconds: list[float] = []
    errors: list[str] = []


class Job(msgspec.Struct):
    """What the client reads of the response."""

    status: str


def measure(stack: Stack) -> list[Row]:
    """Returns latency, errors, and the memory of each process after the warm-up and at the end."""
    with jobs.client(stack) as http:
        jobs.declare(http, DATASET)
    outcome, warm = uvloop.run(_run(stack))
    end = _memory(stack)
    psql.drop(stack, DATASET)
    p95 = percentile_95(outcome.milliseconds)
    label = f"waiting, {CLIENTS:,} clients, {SECONDS:g} s"
    first = f"; the first: {outcome.errors[0]}" if outcome.errors else ""
    return [
        Row(
            f"{label}: {len(outcome.milliseconds):,} batches of {ROWS} rows",
            spread([outcome.milliseconds]),
            None,
            at_most(p95, LIMIT, " ms"),
        ),
        Row(f"{label}: errors", f"{len(outcome.errors)}{first}", None, at_most(len(outcome.errors), 0)),
        *(
            Row(
                f"waiting: memory of {part}, {warm[part]:.0f} MB after {WARM_SHARE * SECONDS:g} s",
                f"{end[part]:.0f} MB",
                end[part] / warm[part],
                at_most(end[part] / warm[part], GROWTH),
            )
            for part in PARTS
        ),
    ]


async def _run(stack: Stack) -> tuple[Outcome, dict[str, float]]:
    outcome = Outcome()
    ends = asyncio.get_running_loop().time() + SECONDS
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(_post_until(stack, number, ends, outcome))
        await asyncio.sleep(WARM_SHARE * SECONDS)
        warm = _memory(stack)
    return outcome, warm


async def _post_until(stack: Stack, number: int, ends: float, outcome: Outcome) -> None:
    """Posts at fixed times, or at once if the batch before took longer; on one connection."""
    loop = asyncio.get_running_loop()
    due = loop.time() + PAUSE_SECONDS * number / CLIENTS
    async with aclosing(Connections(stack)) as connections:
        for turn in count():
            await asyncio.sleep(max(0.0, due - loop.time()))
            if loop.time() >= ends:
                return
            first = (number + 1) * 1_000_000 + turn * ROWS
            rows = ",".join(ROW % (first + place) for place in range(ROWS))
            body = f'{{"rows":[{rows}]}}'
            began = loop.time()
            try:
                job = msgspec.json.decode(await connections.post(PATH, body.encode(), prefer=PREFER), type=Job)
                assert job.status == "succeeded", job
            except (OSError, EOFError, AssertionError) as error:
                outcome.errors.append(repr(error)[:200])
            else:
                outcome.milliseconds.append(1000 * (loop.time() - began))
            due += PAUSE_SECONDS


def _memory(stack: Stack) -> dict[str, float]:
    return {part: memory.read(stack, part, "VmRSS") for part in PARTS}
