"""The most frequent words, and the same with what a dictionary says of them."""

import time
from typing import Any

import httpx2

from bench import jobs, searchable
from bench.documents import DECLARATION, ROWS
from bench.report import Row, at_most
from bench.stack import Stack
from bench.timing import p95, spread

REQUESTS, WARMING = 200, 5
LISTED = 10
LIMIT = 10
WARM_SECONDS = 120
DICTIONARY = {"url": "${SOURCE_DICTIONARY}/entries/{word}"}


def measure(stack: Stack) -> list[Row]:
    """One request after another. The dictionary that is asked is the sandbox's; its answers are waited for."""
    with jobs.client(stack) as http:
        searchable.stock(stack, http)
        words = _times(http, "words")
        answer = http.put(f"/v1/datasets/{searchable.DATASET}", json=DECLARATION | {"dictionary": DICTIONARY})
        assert answer.is_success, answer.text
        _until_warm(http)
        dictionary = _times(http, "dictionary")
    return [
        Row(f"words, of {ROWS:,} documents", spread([words]), None, at_most(p95(words), LIMIT, " ms")),
        Row("words: warm dictionary", spread([dictionary]), None, at_most(p95(dictionary), LIMIT, " ms")),
    ]


def _times(http: httpx2.Client, what: str) -> list[float]:
    milliseconds = []
    for number in range(-WARMING, REQUESTS):
        began = time.perf_counter()
        _get(http, what)
        if number >= 0:
            milliseconds.append((time.perf_counter() - began) * 1000)
    return milliseconds


def _until_warm(http: httpx2.Client) -> None:
    deadline = time.monotonic() + WARM_SECONDS
    while (body := _get(http, "dictionary"))["definitions"] != "complete":
        assert time.monotonic() < deadline, body
        time.sleep(0.2)


def _get(http: httpx2.Client, what: str) -> dict[str, Any]:
    answer = http.get(f"/v1/datasets/{searchable.DATASET}/{what}", params={"limit": LISTED})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert len(body["data"]) == LISTED, body
    return body
