"""Runs search queries on a peer, one after another, in one thread.

Each peer reads a JSON file of queries and prints a list of `{number, milliseconds, hits}`. It stops a kind after
`SECONDS_PER_KIND`, because some peers need seconds for a query.
"""

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SECONDS_PER_KIND = 10
MIN_QUERIES = 3
HITS_READ = 10
"""Number of best documents to read; all hits are counted."""

Search = Callable[[dict[str, Any]], int | None]
"""Runs a query and returns the number of hits; None if the peer does not support it."""


def run_queries(path: str, search: Search) -> list[dict[str, float]]:
    """Returns the measured queries that the peer supports."""
    spent: dict[str, float] = {}
    counts: dict[str, int] = {}
    results = []
    for number, query in enumerate(json.loads(Path(path).read_bytes())):
        kind = query["kind"]
        if spent.get(kind, 0.0) > SECONDS_PER_KIND and counts.get(kind, 0) >= MIN_QUERIES:
            continue
        began = time.perf_counter()
        hits = search(query)
        seconds = time.perf_counter() - began
        if hits is None:
            continue
        if not query["warming"]:
            spent[kind] = spent.get(kind, 0.0) + seconds
            counts[kind] = counts.get(kind, 0) + 1
            results.append({"number": number, "milliseconds": seconds * 1000, "hits": hits})
    return results


def read_documents(path: str) -> Iterator[tuple[int, str, float, str]]:
    """Yields the documents of a file."""
    with Path(path).open(newline="") as file:
        for number, category, price, body in csv.reader(file):
            yield int(number), category, float(price), body
