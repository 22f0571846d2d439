"""Open-loop load: sends queries at random times, whether earlier ones are answered or not."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

PATIENCE = 5.0
"""Seconds to wait for responses after the last query."""
Query = TypeVar("Query")


class Latency(NamedTuple):
    """Time from the due time of a query to its response, or to the timeout if it was not answered."""

    milliseconds: float
    answered: bool


def due_times(count: int, rate: float) -> list[float]:
    """Returns due times in seconds: a Poisson process of this rate per second, the same every time."""
    rng = random.Random(1)
    return list(accumulate(rng.expovariate(rate) for _ in range(count)))


async def send_all(
    send: Callable[[Query], Awaitable[None]], queries: Sequence[Query], due: Sequence[float]
) -> list[Latency]:
    """Sends each query at its due time and returns the latencies, which include delays of this process."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = []

    async def measure(query: Query, moment: float) -> float:
        await send(query)
        return loop.time() - moment

    for query, moment in zip(queries, due, strict=True):
        await asyncio.sleep(began + moment - loop.time())
        tasks.append(asyncio.create_task(measure(query, began + moment)))
    _, late = await asyncio.wait(tasks, timeout=PATIENCE)
    ended = loop.time() - began
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [
        Latency(1000 * (ended - moment if task in late else task.result()), answered=task not in late)
        for task, moment in zip(tasks, due, strict=True)
    ]
