"""A fixed mix of questions over HTTP, beside the same asked of Tantivy, plain Postgres, a regex scan and SQLite's FTS5.

Ours pays for HTTP, for the rows as JSON and for what a service has to look after; the peers are asked in process.
"""

import subprocess
import time
from collections import defaultdict
from pathlib import Path

import httpx2
import msgspec

from bench import bare, jobs, psql, searchable
from bench.documents import ROWS
from bench.programs import peer_python
from bench.questions import COUNTED, KINDS, Question, questions
from bench.report import Row, at_most
from bench.stack import Stack
from bench.timing import Answer, mixed, percentile, short, spread
from deploy.local.state import REPOSITORY

LIMIT, SLOWEST = 30, 100
OURS, BESIDE = "Millrace", "Tantivy"

Times = dict[str, list[float]]
"""Milliseconds of each kind of question."""


def measure(stack: Stack) -> list[Row]:
    """Each question once. A peer that takes seconds for one gets fewer of its kind, and the row says how many."""
    asked = questions()
    with searchable.file() as path, jobs.client(stack) as http:
        searchable.stock(stack, http, path)
        if not bare.stands(stack):
            bare.build(stack, path)
        psql.run(stack, "VACUUM ANALYZE", "CHECKPOINT")  # as autovacuum will have done after a while, for all of them
        found = {OURS: _ask(http, asked)}
        given = path.with_name("questions.json")
        given.write_bytes(msgspec.json.encode(asked))
        url = stack.env["DATABASE_URL"]
        found[BESIDE] = _peer("search_tantivy", path, given)
        found["Postgres, ts_rank"] = _peer("search_postgres", "ranked", url, given)
        found["regex scan"] = _peer("search_postgres", "regex", url, given)
        found["SQLite FTS5"] = _peer("search_fts5", path, given)
        bare.drop(stack)
    times = {engine: _by_kind(asked, answers) for engine, answers in found.items()}
    rows = [row for kind, what in KINDS.items() for row in _kind(kind, what, times)]
    return [*rows, *_mix(times), *_totals(asked, found[OURS], found[BESIDE])]


def _ask(http: httpx2.Client, asked: list[Question]) -> list[Answer]:
    answers = []
    for number, question in enumerate(asked):
        began = time.perf_counter()
        answer = http.get(f"/v1/datasets/{searchable.DATASET}/search", params=question.parameters)
        body = answer.json()
        milliseconds = (time.perf_counter() - began) * 1000
        assert answer.status_code == 200, (question, answer.text)
        assert question.kind != "filter" or body["facets"], answer.text
        total = body["total"]
        if not question.warming:
            answers.append(Answer(number, milliseconds, total["value"], exact=total["relation"] == "eq"))
    return answers


def _peer(module: str, *arguments: str | Path) -> list[Answer]:
    done = subprocess.run(
        [peer_python(), "-m", f"bench.peers.{module}", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE
    )
    return msgspec.json.decode(done.stdout, type=list[Answer])


def _by_kind(asked: list[Question], answers: list[Answer]) -> Times:
    times = defaultdict[str, list[float]](list)
    for answer in answers:
        times[asked[answer.number].kind].append(answer.milliseconds)
    return dict(times)


def _kind(kind: str, what: str, times: dict[str, Times]) -> list[Row]:
    """What a peer can't be asked has no row."""
    beside = _p95([times[BESIDE][kind]])
    return [
        Row(
            f"search, {what}: {engine}{_fewer(each[kind])}",
            spread([each[kind]]),
            _p95([each[kind]]) / beside,
        )
        for engine, each in times.items()
        if kind in each
    ]


def _mix(times: dict[str, Times]) -> list[Row]:
    """Every kind that an engine can answer counts alike. Of ours alone something is demanded."""
    beside = _p95(list(times[BESIDE].values()))
    rows = []
    for engine, each in times.items():
        kinds = list(each.values())
        what = "all of it" if len(each) == len(KINDS) else f"{len(each)} of the {len(KINDS)} kinds"
        target = at_most(_p95(kinds), LIMIT, " ms") if engine == OURS else ""
        rows.append(Row(f"search, {what}: {engine}", spread(kinds), _p95(kinds) / beside, target))
    slowest = max(max(each) for each in times[OURS].values())
    target = at_most(slowest, SLOWEST, " ms")
    return [*rows, Row(f"search, the slowest answer: {OURS}", f"{short(slowest)} ms", None, target)]


def _totals(asked: list[Question], ours: list[Answer], theirs: list[Answer]) -> list[Row]:
    """Fast and wrong is no merit. A typo is understood in different ways, all else has one answer."""
    hits = {answer.number: answer.hits for answer in theirs}
    compared = [answer for answer in ours if asked[answer.number].kind != "typo" and answer.number in hits]
    wrong = sum(
        answer.hits != hits[answer.number] if answer.exact else answer.hits > hits[answer.number] for answer in compared
    )
    lost = [answer for answer in ours if asked[answer.number].kind == "typo" and not answer.hits]
    exact = sum(answer.exact for answer in ours)
    return [
        Row(f"search, {ROWS:,} documents: answers whose total is exact", f"{exact} of {len(ours)}"),
        Row(f"search: totals that {BESIDE} denies", f"{wrong} of {len(compared)}", None, at_most(wrong, 0)),
        Row("search: typos for which nothing is found", f"{len(lost)} of {COUNTED}", None, at_most(len(lost), 0)),
    ]


def _p95(kinds: list[list[float]]) -> float:
    return percentile(mixed(kinds), 0.95)


def _fewer(milliseconds: list[float]) -> str:
    return "" if len(milliseconds) == COUNTED else f" ({len(milliseconds)} asked)"
