"""Search latency for a fixed mix of queries, compared with Tantivy, plain Postgres, a regex scan and SQLite FTS5.

Millrace is queried over HTTP with rows as JSON; the peers run in process.
"""

import subprocess
import time
from collections import defaultdict
from pathlib import Path

import httpx2
import msgspec

from bench import indexing, jobs, plain_postgres, psql
from bench.documents import ROWS
from bench.programs import peer_python
from bench.queries import COUNTED, KINDS, SearchQuery, build_queries
from bench.results import Row, at_most
from bench.stack import Stack
from bench.timing import Response, percentile, short, spread, weighted
from deploy.local.state import REPOSITORY

LIMIT, SLOWEST = 1.3, 100
MILLRACE, PEER = "Millrace", "Tantivy"

Times = dict[str, list[float]]
"""Milliseconds by kind of query."""


def measure(stack: Stack) -> list[Row]:
    """Runs each query once. A slow peer gets fewer queries of a kind; its row shows the number."""
    queries = build_queries()
    with indexing.document_file() as path, jobs.client(stack) as http:
        indexing.ensure_loaded(stack, http, path)
        if not plain_postgres.exists(stack):
            plain_postgres.build(stack, path)
        psql.run(stack, "VACUUM ANALYZE", "CHECKPOINT")  # as autovacuum would do later, for both sides
        responses = {MILLRACE: _run(http, queries)}
        query_file = path.with_name("queries.json")
        query_file.write_bytes(msgspec.json.encode(queries))
        url = stack.env["DATABASE_URL"]
        responses[PEER] = _peer("search_tantivy", path, query_file)
        responses["Postgres, ts_rank"] = _peer("search_postgres", "ranked", url, query_file)
        responses["regex scan"] = _peer("search_postgres", "regex", url, query_file)
        responses["SQLite FTS5"] = _peer("search_fts5", path, query_file)
        plain_postgres.drop(stack)
    times = {engine: _by_kind(queries, each) for engine, each in responses.items()}
    rows = [row for kind, label in KINDS.items() for row in _kind_rows(kind, label, times)]
    return [*rows, *_mix_rows(times), *_total_rows(queries, responses[MILLRACE], responses[PEER])]


def _run(http: httpx2.Client, queries: list[SearchQuery]) -> list[Response]:
    responses = []
    for number, query in enumerate(queries):
        began = time.perf_counter()
        response = http.get(f"/v1/datasets/{indexing.DATASET}/search", params=query.parameters)
        body = response.json()
        milliseconds = (time.perf_counter() - began) * 1000
        assert response.status_code == 200, (query, response.text)
        assert query.kind != "filter" or body["facets"], response.text
        total = body["total"]
        if not query.warming:
            responses.append(Response(number, milliseconds, total["value"], exact=total["relation"] == "eq"))
    return responses


def _peer(module: str, *arguments: str | Path) -> list[Response]:
    done = subprocess.run(
        [peer_python(), "-m", f"bench.peers.{module}", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE
    )
    return msgspec.json.decode(done.stdout, type=list[Response])


def _by_kind(queries: list[SearchQuery], responses: list[Response]) -> Times:
    times = defaultdict[str, list[float]](list)
    for response in responses:
        times[queries[response.number].kind].append(response.milliseconds)
    return dict(times)


def _kind_rows(kind: str, label: str, times: dict[str, Times]) -> list[Row]:
    """Returns a row for each engine that supports this kind."""
    peer = _p95([times[PEER][kind]])
    return [
        Row(
            f"search, {label}: {engine}{_fewer(each[kind])}",
            spread([each[kind]]),
            _p95([each[kind]]) / peer,
        )
        for engine, each in times.items()
        if kind in each
    ]


def _mix_rows(times: dict[str, Times]) -> list[Row]:
    """Returns a row for each engine over all kinds it supports, equally weighted, and the slowest response."""
    peer = _p95(list(times[PEER].values()))
    rows = []
    for engine, each in times.items():
        kinds = list(each.values())
        label = "all of it" if len(each) == len(KINDS) else f"{len(each)} of the {len(KINDS)} kinds"
        ratio = _p95(kinds) / peer
        target = at_most(ratio, LIMIT) if engine == MILLRACE else ""
        rows.append(Row(f"search, {label}: {engine}", spread(kinds), ratio, target))
    slowest = max(max(each) for each in times[MILLRACE].values())
    target = at_most(slowest, SLOWEST, " ms")
    return [*rows, Row(f"search, the slowest response: {MILLRACE}", f"{short(slowest)} ms", None, target)]


def _total_rows(queries: list[SearchQuery], millrace: list[Response], peer: list[Response]) -> list[Row]:
    """Compares the totals. Typos are left out, because engines correct them differently."""
    hits = {response.number: response.hits for response in peer}
    compared = [each for each in millrace if queries[each.number].kind != "typo" and each.number in hits]
    wrong = sum(each.hits != hits[each.number] if each.exact else each.hits > hits[each.number] for each in compared)
    lost = [each for each in millrace if queries[each.number].kind == "typo" and not each.hits]
    exact = sum(each.exact for each in millrace)
    return [
        Row(f"search, {ROWS:,} documents: responses with an exact total", f"{exact} of {len(millrace)}"),
        Row(f"search: totals that contradict {PEER}", f"{wrong} of {len(compared)}", None, at_most(wrong, 0)),
        Row("search: typos without hits", f"{len(lost)} of {COUNTED}", None, at_most(len(lost), 0)),
    ]


def _p95(kinds: list[list[float]]) -> float:
    return percentile(weighted(kinds), 0.95)


def _fewer(milliseconds: list[float]) -> str:
    return "" if len(milliseconds) == COUNTED else f" ({len(milliseconds)} queries)"
