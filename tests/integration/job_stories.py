"""Hypothesis strategies for files of the catalog's datasets, with few keys and groups, so that rows collide."""

import asyncio
import datetime as dt
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from shared.bus.failures import NotReady
from shared.contracts.commands import LoadChunk
from shared.contracts.events import ChunkLoaded
from shared.db.faults import CONFLICTS
from tests.integration.ingestor_runner import Ingestor

CHUNK_BYTES = 90
REPEATED = 0.2
EXAMPLES = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ROUNDS = 500
Argument = TypeVar("Argument")
Result = TypeVar("Result")

WORDS = ("red", "green", "blue chairs", "running", "ran", "the", "tables & chairs", "é", "")
DAYS = [dt.date(year, month, 1) for year in (2020, 2021) for month in (2, 5, 11)]


class Story(msgspec.Struct, frozen=True):
    """Imports into a dataset, and the chance that decides in which order things happen."""

    dataset: str
    files: list[str]
    chance: random.Random


def _line(*cells: object) -> str:
    return ",".join("" if cell is None else str(cell) for cell in cells) + "\n"


def _words(*, required: bool = False) -> st.SearchStrategy[str]:
    return st.sampled_from([word for word in WORDS if word or not required])


hired = st.builds(
    _line,
    st.integers(1, 5),
    _words(required=True),
    st.sampled_from(DAYS[:4]).map(lambda day: f"{day}T12:00:00Z"),
    st.integers(1, 2),
    st.integers(1, 2),
)
customers = st.builds(
    _line,
    st.integers(1, 6),
    _words(required=True),
    _words(required=True),
    st.just("a@example.org"),
    st.just(""),
    _words(),
    st.just(""),
    st.sampled_from(["", "0", "-1.50", "99.99"]),
    st.sampled_from(["", *(f"{day}T12:00:00Z" for day in DAYS)]),
)
items = st.builds(
    _line,
    st.integers(1, 6),
    _words(required=True),
    st.sampled_from(["", "wood", "metal"]),
    st.sampled_from(["1", "2.50"]),
    st.sampled_from(["", "0", "3", "4"]),
    st.just(""),
    st.just(""),
    _words(),
)
failing = st.just("not a row\n")
LINES = {"hired_employees": hired, "customers": customers, "items": items}


def stories(dataset: str) -> st.SearchStrategy[Story]:
    """One to four files, of which some may come again."""
    file = st.lists(st.one_of(*[LINES[dataset]] * 9, failing), min_size=1, max_size=12).map("".join)
    files = st.lists(file, min_size=1, max_size=3).flatmap(
        lambda new: st.lists(st.sampled_from(new), max_size=1).map(lambda again: [*new, *again])
    )
    return st.builds(Story, st.just(dataset), files, st.integers(0, 1 << 32).map(random.Random))


def line_of_items(chance: random.Random) -> str:
    """Of few keys and few groups, with words to search for."""
    category = chance.choice(["wood", "metal", ""])
    return _line(chance.randint(1, 15), chance.choice(WORDS[:4]), category, 1, chance.randint(0, 4), None, None, None)


async def deliver(ingestor: Ingestor, story: Story) -> AsyncIterator[ChunkLoaded]:
    """Loads the story's chunks and meanwhile hands out their events: in any order, late, some of them twice."""
    plans = [await ingestor.plan(story.dataset, text, chunk_bytes=CHUNK_BYTES) for text in story.files]
    waiting = [chunk for plan in plans for chunk in plan]
    undelivered: list[ChunkLoaded] = []
    chance = story.chance
    while waiting or undelivered:
        if waiting and (not undelivered or chance.random() < 0.6):
            chunk = waiting.pop(chance.randrange(len(waiting)))
            try:
                undelivered.append(await ingestor.load(chunk))
            except NotReady:
                waiting.append(chunk)
            continue
        number = chance.randrange(len(undelivered))
        yield undelivered[number] if chance.random() < REPEATED else undelivered.pop(number)


async def deliver_at_once(ingestor: Ingestor, story: Story, hear: Callable[[ChunkLoaded], Awaitable[None]]) -> None:
    """Everything at the same time, as far as the connections go; what meets another transaction tries again."""
    plans = [await ingestor.plan(story.dataset, text, chunk_bytes=CHUNK_BYTES) for text in story.files]

    async def follow(chunk: LoadChunk) -> None:
        await until_done(hear, await until_done(ingestor.load, chunk))

    await asyncio.gather(*(follow(chunk) for plan in plans for chunk in plan))


def groups(events: Sequence[ChunkLoaded], chance: random.Random) -> list[list[ChunkLoaded]]:
    """The events in any order, split into groups of any size."""
    order = chance.sample(events, len(events))
    cuts = sorted(chance.sample(range(1, len(order)), chance.randint(0, len(order) - 1))) if order else []
    return [order[start:end] for start, end in itertools.pairwise([0, *cuts, len(order)])] if order else []


async def until_done(work: Callable[[Argument], Awaitable[Result]], argument: Argument) -> Result:
    """As `Delivery` does it, without its pauses and its patience."""
    for _ in range(ROUNDS):
        try:
            return await work(argument)
        except (NotReady, *CONFLICTS):
            await asyncio.sleep(0.01)
    raise AssertionError(f"never done: {argument}")
