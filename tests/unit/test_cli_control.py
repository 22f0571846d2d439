"""`millrace cancel`, `retry` and `why`: requests, output and exit codes."""

import json
from pathlib import Path

import pytest

from cli import follow
from tests.unit.fake_gateway import JOB, Answer, FakeGateway, accepts, events, job, run

CANCELED = job(
    "canceled",
    rows_read=7,
    inserted=7,
    error={"code": "canceled", "detail": "Canceled on request: 7 rows were loaded and stay.", "hint": "Retry it."},
)
PROBLEM = {"code": "gave_up", "detail": "ValueError: no", "hint": ""}
MESSAGE = {"name": "load_chunk", "queue": "ingestor.load_chunk", "attempts": 1, "state": "retrying"}
WHY = {
    "job": JOB,
    "status": "running",
    "summary": "The job is running: 21 messages open.",
    "next": "Wait until noon.",
    "deadline_at": "2024-05-07T07:08:09Z",
    "messages": {"total": 21, "data": [{**MESSAGE, "sent_at": None, "due_at": "2024-05-06T12:00:00Z"}]},
    "dead_letters": {
        "total": 1,
        "data": [{"name": "chunk.loaded", "service": "indexer", "reason": "failed", "problem": PROBLEM}],
    },
    "attempts": {
        "total": 2,
        "data": [
            {"name": "load_chunk", "number": 2, "worker": "a:1", "began_at": "2024-05-06T11:00:00Z", "problem": None},
            {
                "name": "load_chunk",
                "number": 1,
                "worker": "b:2",
                "began_at": "2024-05-06T10:00:00Z",
                "problem": PROBLEM,
            },
        ],
    },
}


def test_cancel_waits_and_says_which_rows_stay(fake: FakeGateway) -> None:
    fake.answers[f"/v1/jobs/{JOB}/cancel"] = [Answer(CANCELED)]
    done = run("cancel", JOB)
    assert done.exit_code == 0
    assert "canceled after" in done.stdout
    assert "7 rows were loaded and stay" in done.stdout
    (request,) = fake.requests_to(f"/v1/jobs/{JOB}/cancel")
    assert request.headers["prefer"] == "wait=30"
    assert json.loads(run("cancel", JOB, "--json").stdout)["status"] == "canceled"


def test_cancel_of_a_job_that_does_not_stop_in_time(fake: FakeGateway) -> None:
    fake.answers[f"/v1/jobs/{JOB}/cancel"] = [Answer(job("running"), 202)]
    assert f"millrace why {JOB}" in run("cancel", JOB).stdout


def test_cancel_of_a_job_that_has_ended(fake: FakeGateway) -> None:
    problem = {"code": "already_ended", "detail": "It is succeeded.", "hint": ""}
    fake.answers[f"/v1/jobs/{JOB}/cancel"] = [Answer(problem, 409)]
    done = run("cancel", JOB)
    assert (done.exit_code, "It is succeeded." in done.stderr) == (1, True)


def test_an_import_that_is_canceled_ends_with_its_own_code(fake: FakeGateway, tmp_path: Path) -> None:
    accepts(fake, ends=CANCELED)
    people = tmp_path / "people.csv"
    people.write_text("id,name\n")
    done = run("import", str(people), "-d", "people")
    assert (done.exit_code, "Retry it." in done.stdout) == (5, True)


def test_ctrl_c_offers_to_cancel(fake: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    accepts(fake, ends=CANCELED)
    monkeypatch.setattr(follow, "_updates", interrupt)
    people = tmp_path / "people.csv"
    people.write_text("id,name\n")
    done = run("import", str(people), "-d", "people")
    assert (done.exit_code, f"`millrace cancel {JOB}`" in done.stderr) == (1, True)


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("partial", 3), ("failed", 4), ("canceled", 5)])
def test_retry_follows_the_job_to_its_next_end(fake: FakeGateway, status: str, code: int) -> None:
    fake.answers[f"/v1/jobs/{JOB}/retry"] = [Answer(job("running", percent=10.0), 202)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(job("running", percent=50.0)), Answer(job(status))]
    fake.answers[f"/v1/jobs/{JOB}/events"] = [events(job("failed"))]  # of the run before
    done = run("retry", JOB)
    assert (done.exit_code, f"{status} after" in done.stdout) == (code, True)
    assert fake.requests_to(f"/v1/jobs/{JOB}/events") == []


def test_retry_without_waiting(fake: FakeGateway) -> None:
    fake.answers[f"/v1/jobs/{JOB}/retry"] = [Answer(job("running"), 202)]
    done = run("retry", JOB, "--no-wait")
    assert (done.exit_code, f"Accepted as job {JOB}" in done.stdout) == (0, True)


def test_why_prints_sentences_and_tables(fake: FakeGateway) -> None:
    fake.answers[f"/v1/jobs/{JOB}/why"] = [Answer(WHY)]
    done = run("why", JOB)
    assert done.exit_code == 0, done.stderr
    for text in ("21 messages open", "Next: Wait until noon.", "Open messages: 21", "retrying", "2024-05-06 12:00:00"):
        assert text in done.stdout
    for text in ("Messages that did not end: 1", "chunk.loaded", "did not succeed: 2", "no end", "ValueError: no"):
        assert text in done.stdout
    assert json.loads(run("why", JOB, "--json").stdout)["status"] == "running"
