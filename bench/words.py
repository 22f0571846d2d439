"""Response times of the most frequent words, without and with dictionary entries."""

import time
from typing import Any

import httpx2

from bench import indexing, jobs
from bench.documents import DECLARATION, ROWS
from bench.results import Row, at_most
from bench.stack import Stack
from bench.timing import p95, spread, until

REQUESTS, WARMING = 200, 5
WORDS = 10
LIMIT = 10
WARM_SECONDS = 120
DICTIONARY = {"url": "${SOURCE_DICTIONARY}/entries/{word}"}


def measure(stack: Stack) -> list[Row]:
    """Sends requests one after another. Waits until all entries of the sandbox's dictionary are fetched."""
    with jobs.client(stack) as http:
        indexing.ensure_loaded(stack, http)
        words = _times(http, "words")
        response = http.put(f"/v1/datasets/{indexing.DATASET}", json=DECLARATION | {"dictionary": DICTIONARY})
        assert response.is_success, response.text
        until(lambda: _get(http, "dictionary")["definitions"] == "complete", WARM_SECONDS, "definitions are missing")
        dictionary = _times(http, "dictionary")
    return [
        Row(f"words, of {ROWS:,} documents", spread([words]), None, at_most(p95(words), LIMIT, " ms")),
        Row("words: warm dictionary", spread([dictionary]), None, at_most(p95(dictionary), LIMIT, " ms")),
    ]


def _times(http: httpx2.Client, resource: str) -> list[float]:
    milliseconds = []
    for number in range(-WARMING, REQUESTS):
        began = time.perf_counter()
        _get(http, resource)
        if number >= 0:
            milliseconds.append((time.perf_counter() - began) * 1000)
    return milliseconds


def _get(http: httpx2.Client, resource: str) -> dict[str, Any]:
    response = http.get(f"/v1/datasets/{indexing.DATASET}/{resource}", params={"limit": WORDS})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    assert len(body["data"]) == WORDS, body
    return body
