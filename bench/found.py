"""How long after two rows are sent a search finds them, on a system that has nothing else to do."""

import time
from statistics import quantiles
from typing import Any

import httpx2

from bench import jobs, searchable
from bench.documents import ROWS
from bench.report import Row, at_most
from bench.stack import Stack

BATCHES, WARMING = 100, 5
LIMIT = 150
SECONDS = 10
SEARCH = f"/v1/datasets/{searchable.DATASET}/search"


def measure(stack: Stack) -> list[Row]:
    """Sent with `Prefer: wait`, and then asked for; asked again until they are found, which should not be needed."""
    milliseconds, again = [], 0
    with jobs.client(stack) as http:
        searchable.stock(stack, http)
        for number in range(-WARMING, BATCHES):
            word = _word(number + WARMING)
            first = 2 * ROWS + 2 * (number + WARMING)
            rows = [{"id": first + n, "category": "late", "price": n, "body": f"{word} water"} for n in (0, 1)]
            began = time.perf_counter()
            tries = _until_found(http, word, rows)
            if number >= 0:
                milliseconds.append((time.perf_counter() - began) * 1000)
                again += tries > 1
    p50, p95 = quantiles(milliseconds, n=2)[0], quantiles(milliseconds, n=20)[-1]
    return [
        Row(f"found, 2 rows among {ROWS:,}: p50 from POST to found", f"{p50:.0f} ms"),
        Row("found: p95", f"{p95:.0f} ms", None, at_most(p95, LIMIT, " ms")),
        Row("found: job ended, but a search did not find it yet", f"{again} of {BATCHES}", None, at_most(again, 0)),
    ]


def _until_found(http: httpx2.Client, word: str, rows: list[dict[str, Any]]) -> int:
    """How often it had to be asked."""
    path = f"/v1/datasets/{searchable.DATASET}/rows"
    answer = http.post(path, json={"rows": rows}, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    deadline, tries = time.monotonic() + SECONDS, 0
    while True:
        tries += 1
        answer = http.get(SEARCH, params={"q": word})
        assert answer.status_code == 200, answer.text
        # By their keys: a word that is not known yet may be taken for a misspelt one.
        if {hit["row"]["id"] for hit in answer.json()["data"]} == {row["id"] for row in rows}:
            return tries
        assert time.monotonic() < deadline, f"{word} is not found: {answer.text}"
        time.sleep(0.005)


def _word(number: int) -> str:
    """One that no document has, and unlike the others."""
    return f"{chr(97 + number % 26) * 3}q{chr(97 + number // 26) * 3}q"
