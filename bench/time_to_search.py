"""Time from sending two rows until a search finds them, on an idle system."""

import time
from statistics import quantiles
from typing import Any

import httpx2

from bench import indexing, jobs
from bench.documents import ROWS
from bench.results import Row, at_most
from bench.stack import Stack

BATCHES, WARMING = 100, 5
P50_LIMIT, P95_LIMIT = 40, 150
SECONDS = 10
SEARCH = f"/v1/datasets/{indexing.DATASET}/search"


def measure(stack: Stack) -> list[Row]:
    """Sends rows with `Prefer: wait`, then searches until they are found; one search should be enough."""
    milliseconds, retried = [], 0
    with jobs.client(stack) as http:
        indexing.ensure_loaded(stack, http)
        for number in range(-WARMING, BATCHES):
            word = _word(number + WARMING)
            first = 2 * ROWS + 2 * (number + WARMING)
            rows = [{"id": first + n, "category": "late", "price": n, "body": f"{word} water"} for n in (0, 1)]
            began = time.perf_counter()
            tries = _search_until_found(http, word, rows)
            if number >= 0:
                milliseconds.append((time.perf_counter() - began) * 1000)
                retried += tries > 1
    p50, p95 = quantiles(milliseconds, n=2)[0], quantiles(milliseconds, n=20)[-1]
    return [
        Row(
            f"found, 2 rows among {ROWS:,}: p50 from POST to found",
            f"{p50:.0f} ms",
            None,
            at_most(p50, P50_LIMIT, " ms"),
        ),
        Row("found: p95", f"{p95:.0f} ms", None, at_most(p95, P95_LIMIT, " ms")),
        Row("found: job ended, but a search did not find it yet", f"{retried} of {BATCHES}", None, at_most(retried, 0)),
    ]


def _search_until_found(http: httpx2.Client, word: str, rows: list[dict[str, Any]]) -> int:
    """Returns the number of searches."""
    path = f"/v1/datasets/{indexing.DATASET}/rows"
    response = http.post(path, json={"rows": rows}, headers={"Prefer": "wait=30"})
    assert response.status_code == 200, response.text
    deadline, tries = time.monotonic() + SECONDS, 0
    while True:
        tries += 1
        response = http.get(SEARCH, params={"q": word})
        assert response.status_code == 200, response.text
        # Compared by key: an unknown word may be corrected to a similar one.
        if {hit["row"]["id"] for hit in response.json()["data"]} == {row["id"] for row in rows}:
            return tries
        assert time.monotonic() < deadline, f"{word} is not found: {response.text}"
        time.sleep(0.005)


def _word(number: int) -> str:
    """Returns a word that no document contains and that is not similar to the others."""
    return f"{chr(97 + number % 26) * 3}q{chr(97 + number // 26) * 3}q"
