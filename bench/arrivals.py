"""Questions that come when they come, whether those before are answered or not."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

PATIENCE = 5.0
"""Seconds after the last question for which answers are waited for."""
Question = TypeVar("Question")


class Wait(NamedTuple):
    """From the moment at which a question was due; until it was given up, if it was not answered."""

    milliseconds: float
    answered: bool


def moments(count: int, rate: float) -> list[float]:
    """In seconds: at random, as people come who don't know of each other; the same every time."""
    chance, moment, found = random.Random(1), 0.0, list[float]()
    for _ in range(count):
        moment += chance.expovariate(rate)
        found.append(moment)
    return found


async def ask_all(
    ask: Callable[[Question], Awaitable[None]], questions: Sequence[Question], due: Sequence[float]
) -> list[Wait]:
    """In their order. What keeps this process from asking in time counts as well."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = []

    async def one(question: Question, moment: float) -> float:
        await ask(question)
        return loop.time() - moment

    for question, moment in zip(questions, due, strict=True):
        await asyncio.sleep(began + moment - loop.time())
        tasks.append(asyncio.create_task(one(question, began + moment)))
    _, late = await asyncio.wait(tasks, timeout=PATIENCE)
    ended = loop.time() - began
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [
        Wait((ended - moment) * 1000, answered=False) if task in late else Wait(task.result() * 1000, answered=True)
        for task, moment in zip(tasks, due, strict=True)
    ]
