"""`millrace failed`, `replay` and `discard`: requests and output."""

import json

import pytest

from tests.unit.fake_gateway import JOB, ROW_ERROR, Answer, FakeGateway, accepts, failed_rows, job, run

HERE = f"/v1/jobs/{JOB}/failed-rows"


def test_failed_rows_as_csv(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}?code=type&state=open&format=csv"] = [Answer(b"id,_line\r\n1,2\r\n3,4\r\n")]
    done = run("failed", JOB, "--csv", "--code", "type", "--state", "open")
    assert done.stdout_bytes == b"id,_line\r\n1,2\r\n3,4\r\n"


def test_interrupted_csv_is_an_error(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}?format=csv"] = [Answer(b"id,_line\r\n1,2\r\n", headers={"Content-Length": "1000"})]
    done = run("failed", JOB, "--csv")
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_failed_rows_come_after_their_counts(fake: FakeGateway) -> None:
    fake.answers[HERE] = [failed_rows([{"line": 2, "raw": "\x1b[31m,[red]\n", "errors": [ROW_ERROR]}], 5)]
    shown = run("failed", JOB, "--limit", "1", "--column", "name").stdout.splitlines()
    assert [line.split() for line in shown[:3]] == [
        ["ROWS", "CODE", "COLUMN"],
        ["1,200", "required", "name"],
        ["34", "row_length"],
    ]
    assert shown[3] == "Failed rows: 1,234, 1,000 of them stored."
    assert shown[6].endswith(r"A value is required.  \x1b[31m,[red]\n")
    assert "There are more" in shown[7]
    assert fake.requests[0].path == f"{HERE}?column=name&limit=1"


def test_more_failed_rows_than_a_page(fake: FakeGateway) -> None:
    rows = [{"line": number, "raw": "6,", "errors": [ROW_ERROR]} for number in range(1000)]
    fake.answers[f"{HERE}?limit=1000"] = [failed_rows(rows, 77)]
    fake.answers[f"{HERE}?after=77&limit=500"] = [failed_rows(rows[:500])]
    shown = run("failed", JOB, "--limit", "1500").stdout
    assert shown.count("A value is required.") == 1500
    assert "There are more" not in shown


def test_no_failed_row(fake: FakeGateway) -> None:
    fake.answers[HERE] = [Answer({"data": [], "next": None, "total": 0, "kept": 0, "counts": []})]
    assert run("failed", JOB).stdout == "No row failed.\n"


def test_replay_follows_the_new_job(fake: FakeGateway) -> None:
    ends = job("partial", rows_read=3, inserted=2, failed=1)
    accepts(fake, ends={**ends, "warning": {"code": "rows_left_out", "detail": "4 failed rows stay open."}})
    fake.answers["/v1/jobs/old/replay"] = [Answer(lost=True), Answer(job("queued", percent=0.0), 202)]
    done = run("replay", "old", "--code", "reference")
    assert done.exit_code == 3
    lost, request = fake.requests_to("/v1/jobs/old/replay")
    assert json.loads(request.body) == {"code": "reference", "column": None}
    assert request.headers["idempotency-key"] == lost.headers["idempotency-key"]
    assert "Warning: 4 failed rows stay open." in done.stdout
    assert "partial 100.0 %" in done.stderr
    assert "upload" not in done.stderr


def test_bars_of_a_replay_have_no_upload(fake: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    accepts(fake, ends=job("succeeded", rows_read=2, inserted=2))
    fake.answers["/v1/jobs/old/replay"] = [Answer(job("queued", percent=0.0), 202)]
    shown = run("replay", "old").stderr
    assert "2 rows read, 2 written, 0 failed" in shown
    assert "upload" not in shown


def test_nothing_to_replay(fake: FakeGateway) -> None:
    problem = {"status": 409, "code": "nothing_to_replay", "detail": "No open failed row of this job fits."}
    fake.answers[f"/v1/jobs/{JOB}/replay"] = [Answer(problem, 409)]
    done = run("replay", JOB)
    assert (done.exit_code, done.stderr) == (1, "Error: No open failed row of this job fits.\n")


@pytest.mark.parametrize(("discarded", "message"), [(1234, "Discarded rows: 1,234."), (None, "not done yet")])
def test_discard(fake: FakeGateway, discarded: int | None, message: str) -> None:
    fake.answers[f"{HERE}/discard"] = [Answer({"discarded": discarded}, 200 if discarded else 202)]
    done = run("discard", JOB, "--column", "name")
    assert done.exit_code == 0
    assert message in done.stdout
    assert json.loads(fake.requests[0].body) == {"code": None, "column": "name"}
