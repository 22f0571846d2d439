"""`millrace dead-letters`, its `redrive` and `discard`: requests and output."""

import json
from typing import Any

import pytest

from tests.unit.fake_gateway import JOB, Answer, FakeGateway, run

HERE = "/v1/ops/dead-letters"
GROUPS = [{"service": "indexer", "message": "chunk.loaded", "reason": "failed", "count": 1200}]


def letter(number: int = 1) -> dict[str, Any]:
    problem = {"code": "gave_up", "detail": "ValueError: \x1b[31m (after 6 attempts)"}
    return {
        "id": f"id-{number}", "service": "indexer", "message": "chunk.loaded", "dataset": "items", "job": JOB,
        "reason": "failed", "problem": problem, "age_seconds": 4321.9, "payload": {},
    }  # fmt: skip


def page(letters: list[dict[str, Any]], total: int, after: str | None = None) -> Answer:
    return Answer({"data": letters, "next": after, "total": total})


def settlement(**changed: Any) -> dict[str, Any]:
    empty = {"matched": 1200, "by": GROUPS, "not_redrivable": 0, "more": False, "dry_run": False, "settled": None}
    return empty | changed


def bodies(fake: FakeGateway, verb: str) -> list[Any]:
    return [json.loads(request.body) for request in fake.requests_to(f"{HERE}/{verb}")]


def test_letters_are_a_table(fake: FakeGateway) -> None:
    fake.answers[HERE] = [page([letter()], 1)]
    shown = run("dead-letters", "--service", "indexer", "--older-than", "60").stdout.splitlines()
    assert shown[0].split() == ["ID", "SERVICE", "MESSAGE", "DATASET", "JOB", "REASON", "AGE", "PROBLEM"]
    assert shown[1].split() == [
        "id-1", "indexer", "chunk.loaded", "items", JOB, "failed", "4,322", "s", "ValueError:", r"\x1b[31m", "(after",
        "6", "attempts)",
    ]  # fmt: skip
    assert shown[2] == "1 of 1 messages"
    assert fake.requests[0].path == f"{HERE}?service=indexer&older_than=60.0&state=dead&limit=50"


def test_more_letters_than_a_page(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}?state=dead&limit=200"] = [page([letter(n) for n in range(200)], 333, "7.x.y")]
    fake.answers[f"{HERE}?state=dead&after=7.x.y&limit=50"] = [page([letter(n) for n in range(50)], 333)]
    assert run("dead-letters", "--limit", "250").stdout.endswith("250 of 333 messages\n")


def test_no_letter_matches(fake: FakeGateway) -> None:
    fake.answers[HERE] = [page([], 0)]
    assert run("dead-letters").stdout == "No message matches.\n"


def test_letters_as_json(fake: FakeGateway) -> None:
    fake.answers[HERE] = [page([letter()], 1)]
    assert json.loads(run("dead-letters", "--json").stdout)["data"][0]["payload"] == {}


def test_a_dry_run_changes_nothing(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}/redrive"] = [Answer(settlement(dry_run=True, not_redrivable=7))]
    done = run("dead-letters", "redrive", "--reason", "failed", "--id", "a", "--id", "b", "--dry-run")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1] == ["indexer", "chunk.loaded", "failed", "1,200"]
    assert done.stdout.endswith("7 of them can't be redriven, only discarded.\nMessages that match: 1,200.\n")
    assert bodies(fake, "redrive") == [{"reason": "failed", "ids": ["a", "b"], "all": False, "dry_run": True}]


@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_requests_go_on_while_more_messages_match(fake: FakeGateway, verb: str) -> None:
    fake.answers[f"{HERE}/{verb}"] = [
        Answer(settlement(dry_run=True)),
        Answer(settlement(settled=1000, more=True)),
        Answer(settlement(settled=200)),
    ]
    done = run("dead-letters", verb, "--all", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1].split()[-1]) == (0, "1,200.")
    assert bodies(fake, verb) == [{"all": True, "dry_run": True}, {"all": True}, {"all": True}]
    assert fake.requests[-1].headers["prefer"] == "wait=30"
    assert len({request.headers["idempotency-key"] for request in fake.requests}) == 3


def test_without_yes_it_needs_an_answer(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}/discard"] = [Answer(settlement(dry_run=True))]
    done = run("dead-letters", "discard", "--job", JOB)
    assert done.exit_code == 1
    assert len(fake.requests) == 1


def test_what_is_not_done_in_time_is_an_error(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}/redrive"] = [Answer(settlement(dry_run=True)), Answer(settlement(), 202)]
    done = run("dead-letters", "redrive", "-d", "items", "--yes")
    assert done.exit_code == 1
    assert "not done yet" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("redrive",), ("discard", "--yes"), ("--service", "indexer", "redrive", "--all")]
)
def test_a_request_that_may_mean_too_much_is_refused(fake: FakeGateway, arguments: tuple[str, ...]) -> None:
    assert run("dead-letters", *arguments).exit_code == 2
    assert fake.requests == []
