"""How the peers of search are asked: one question after another, in one thread.

Each is started with a file of questions, as JSON, and prints a list of `{number, milliseconds, hits}`. It gets
questions of a kind until it has worked on that kind for so long: some need seconds for a question.
"""

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SECONDS_PER_KIND = 10
FEWEST = 3
FOUND = 10
"""The best so many documents are read; all hits are counted."""

Ask = Callable[[dict[str, Any]], int | None]
"""Answers a question and tells how many hits there are; None says that it can't be asked."""


def answers(path: str, ask: Ask) -> list[dict[str, float]]:
    """Of all questions that could be answered."""
    spent: dict[str, float] = {}
    asked: dict[str, int] = {}
    found = []
    for number, question in enumerate(json.loads(Path(path).read_bytes())):
        kind = question["kind"]
        if spent.get(kind, 0.0) > SECONDS_PER_KIND and asked.get(kind, 0) >= FEWEST:
            continue
        began = time.perf_counter()
        hits = ask(question)
        seconds = time.perf_counter() - began
        if hits is None:
            continue
        if not question["warming"]:
            spent[kind] = spent.get(kind, 0.0) + seconds
            asked[kind] = asked.get(kind, 0) + 1
            found.append({"number": number, "milliseconds": seconds * 1000, "hits": hits})
    return found


def documents(path: str) -> Iterator[tuple[int, str, float, str]]:
    """The documents of a file."""
    with Path(path).open(newline="") as file:
        for number, category, price, body in csv.reader(file):
            yield int(number), category, float(price), body
